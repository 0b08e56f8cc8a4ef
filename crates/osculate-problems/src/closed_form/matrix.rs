/// A square matrix in `f64`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct SquareMatrix {
    size: usize,
    elements: Vec<f64>,
}

impl SquareMatrix {
    /// The matrix whose element in `row` and `column` is `f(row, column)`.
    pub fn from_fn(size: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let elements = (0..size * size).map(|i| f(i / size, i % size)).collect();
        Self { size, elements }
    }

    /// Number of rows.
    pub fn size(&self) -> usize {
        self.size
    }

    /// One element.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn get(&self, row: usize, column: usize) -> f64 {
        assert!(column < self.size, "column {column} of {}", self.size);
        self.elements[row * self.size + column]
    }

    /// Adds to one element.
    pub(super) fn add(&mut self, row: usize, column: usize, value: f64) {
        self.elements[row * self.size + column] += value;
    }

    /// All elements, row by row.
    pub fn elements(&self) -> &[f64] {
        &self.elements
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.elements.chunks(self.size.max(1))
    }

    /// The matrix times a vector.
    ///
    /// # Panics
    /// If the vector's length is not the size.
    pub fn mul_vec(&self, v: &[f64]) -> Vec<f64> {
        assert_eq!(v.len(), self.size, "length of the vector");
        self.rows()
            .map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
            .collect()
    }

    /// The diagonal.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.size).map(|i| self.get(i, i)).collect()
    }

    /// The sum of every row: what a constant probe gives instead of the diagonal.
    pub fn row_sums(&self) -> Vec<f64> {
        self.rows().map(|row| row.iter().sum()).collect()
    }

    /// The trace.
    pub fn trace(&self) -> f64 {
        self.diagonal().iter().sum()
    }

    /// The square root of the sum of squares.
    pub fn frobenius_norm(&self) -> f64 {
        self.elements.iter().map(|x| x * x).sum::<f64>().sqrt()
    }
}
