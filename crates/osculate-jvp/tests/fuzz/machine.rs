//! Random programs on matrices of one shape.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation};

pub const ROWS: usize = 3;
pub const COLUMNS: usize = 4;
pub const ELEMENTS: usize = ROWS * COLUMNS;

/// How many operations there are.
const OPERATIONS: u8 = 36;

/// An operation, the values that it reads, and a choice among its variants.
pub type Instruction = (u8, u8, u8, u8);

/// Independent numbers in -1..1.
pub fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    draw();
    (0..n).map(|_| draw()).collect()
}

pub fn tensor(seed: u64, dtype: DType) -> Tensor<2> {
    let data = TensorData::new(numbers(ELEMENTS, seed), [ROWS, COLUMNS]);
    Tensor::from_data(data, (&Device::flex(), dtype))
}

/// Runs instructions on a growing list of matrices of one shape. Every result stays near 1.
struct Machine {
    device: Device,
    dtype: DType,
    /// What values are cast to and back.
    through: DType,
    values: Vec<Tensor<2>>,
}

impl Machine {
    fn value(&self, index: u8) -> Tensor<2> {
        self.values[index as usize % self.values.len()].clone()
    }

    fn constant(&self, choice: u8) -> Tensor<2> {
        let data = TensorData::new(
            numbers(ELEMENTS, 1000 + u64::from(choice % 7)),
            [ROWS, COLUMNS],
        );
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    /// Integers below `limit`, from a constant or from integer arithmetic.
    fn integers<const N: usize>(&self, choice: u8, limit: i64) -> Tensor<1, Int> {
        if choice.is_multiple_of(2) {
            let values: [i64; N] = core::array::from_fn(|k| {
                (i64::from(choice) + 3 * k as i64 * (1 + i64::from(choice % 3))) % limit
            });
            Tensor::from_data(values, &self.device)
        } else {
            let start = i64::from(choice % 4);
            let range = Tensor::<1, Int>::arange(start..start + N as i64, &self.device);
            (range.mul_scalar(2) + 1).remainder_scalar(limit)
        }
    }

    fn mask(&self, choice: u8) -> Tensor<2, Bool> {
        let row = self.integers::<ROWS>(choice, 3).unsqueeze_dim::<2>(1);
        let column = self.integers::<COLUMNS>(choice / 2, 3).unsqueeze::<2>();
        let equal = row
            .expand([ROWS, COLUMNS])
            .equal(column.expand([ROWS, COLUMNS]));
        match choice % 3 {
            0 => equal,
            1 => equal.bool_not(),
            _ => equal.bool_or(self.constant(choice).greater_elem(0.3)),
        }
    }

    fn step(&self, (operation, a, b, choice): Instruction) -> Tensor<2> {
        let (x, y) = (self.value(a), self.value(b));
        let bounded = |x: Tensor<2>| x.tanh();
        match operation % OPERATIONS {
            0 => x + y,
            1 => x - y.mul_scalar(0.5),
            2 => bounded(x * y),
            3 => x / (y.square() + 1.5),
            4 => x.sin(),
            5 => x.cos() + y,
            6 => bounded(x).exp().mul_scalar(0.5),
            7 => x.tanh(),
            8 => (x.square() + 0.5).log(),
            9 => (x.square() + 0.3).sqrt(),
            10 => activation::gelu(x),
            11 => activation::sigmoid(x) * y,
            12 => activation::softplus(x, 1.3).mul_scalar(0.5),
            13 => activation::softmax(x, (choice % 2) as usize).mul_scalar(2.0),
            14 => activation::log_softmax(x, (choice % 2) as usize).mul_scalar(0.3),
            15 => activation::relu(x - 0.1317) + y,
            16 => x.abs().mul_scalar(0.7),
            17 => x.clamp(-0.4217, 0.5313) * y,
            18 => x
                .matmul(y.transpose())
                .mul_scalar(0.3)
                .matmul(self.constant(choice)),
            19 => {
                let dim = (choice % 2) as usize;
                x.sum_dim(dim).expand([ROWS, COLUMNS]).mul_scalar(0.3) - y
            }
            20 => (x.clone() - x.mean_dim((choice % 2) as usize)) * y,
            21 => bounded(x * self.constant(choice)) + self.constant(choice.wrapping_add(b)),
            22 => x.mask_fill(self.mask(choice), 0.25) * y,
            23 => x.mask_where(self.mask(choice), y),
            24 => x.select(0, self.integers::<ROWS>(choice, ROWS as i64)),
            25 => x.select(1, self.integers::<COLUMNS>(choice, COLUMNS as i64)) + y,
            26 => {
                let at = self.integers::<ROWS>(choice, COLUMNS as i64);
                let at = at.unsqueeze_dim::<2>(1).expand([ROWS, COLUMNS]);
                x.gather(1, at) * y
            }
            27 => Tensor::cat(
                vec![x.slice([0..1, 0..COLUMNS]), y.slice([1..ROWS, 0..COLUMNS])],
                0,
            ),
            28 => x.flip([(choice % 2) as usize]),
            29 => x.reshape([COLUMNS, ROWS]).transpose().mul_scalar(0.9),
            30 => x.max_pair(y.add_scalar(0.0713)),
            31 => {
                let counts = self.integers::<COLUMNS>(choice, 5).float().cast(self.dtype);
                x * counts
                    .mul_scalar(0.2)
                    .unsqueeze::<2>()
                    .expand([ROWS, COLUMNS])
            }
            32 => x.powi_scalar(i32::from(choice % 3) + 1).tanh(),
            33 => x.cast(self.through).sin().cast(self.dtype) + y,
            34 => {
                let mask = self.mask(choice);
                x * (mask.clone().float() + mask.int().float().mul_scalar(0.5)).cast(self.dtype)
            }
            _ => x.cumsum((choice % 2) as usize).mul_scalar(0.4),
        }
    }
}

/// What instructions make of two matrices. Casts lead through `F64` and back.
pub fn run(instructions: &[Instruction], inputs: (&Tensor<2>, &Tensor<2>)) -> Tensor<2> {
    run_through(DType::F64, instructions, inputs)
}

/// The same with casts through another type.
pub fn run_through(
    through: DType,
    instructions: &[Instruction],
    (x, y): (&Tensor<2>, &Tensor<2>),
) -> Tensor<2> {
    let mut machine = Machine {
        device: x.device(),
        dtype: x.dtype(),
        through,
        values: vec![x.clone(), y.clone()],
    };
    for &instruction in instructions {
        let made = machine.step(instruction);
        machine.values.push(made);
    }
    machine.values.pop().unwrap()
}

/// The instruction as one that makes each row of its result of the same rows of what it reads.
pub fn by_row((operation, a, b, choice): Instruction) -> Instruction {
    match operation % OPERATIONS {
        // Products of matrices, rows that are picked, and a shape that is taken apart.
        mixing @ (18 | 24 | 29) => (mixing - 15, a, b, choice | 1),
        // These run along dimension 1.
        along @ (13 | 14 | 19 | 20 | 28 | 35) => (along, a, b, choice | 1),
        other => (other, a, b, choice),
    }
}
