"""Trajectories of Shampoo, SOAP and the KL family over 50 fixed gradients, in double precision.

Written from the papers' formulas with NumPy alone. Run from this folder:
    python kronecker_traces.py > ../data/kronecker_traces.json
"""

import json

import numpy as np

ROWS, COLUMNS, STEPS, LR = 6, 5, 50, 0.01


def inputs():
    """Weights and gradients, rounded so that every precision reads the same numbers.

    The gradients' covariance has well separated eigenvalues in bases that are not the axes, and
    turns slowly, so that preconditioners have something to follow.
    """
    rng = np.random.default_rng(20)
    left = np.linalg.qr(rng.standard_normal((ROWS, ROWS)))[0]
    right = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0]
    left = left * 2.0 ** -np.arange(ROWS)
    right = right * 1.7 ** -np.arange(COLUMNS)
    start = np.round(rng.standard_normal((ROWS, COLUMNS)), 3)
    gradients = []
    for t in range(STEPS):
        noise = rng.standard_normal((ROWS, COLUMNS))
        angle = 0.01 * t
        turn = np.eye(ROWS)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        gradients.append(np.round(turn @ left @ noise @ right.T, 5))
    return start, gradients


def trace(rule, gradients, start):
    """The weights after every step. A rule is a generator function that is sent gradients and
    weights, and yields weights."""
    steps = rule()
    next(steps)
    weights, out = start, []
    for gradient in gradients:
        weights = steps.send((gradient, weights))
        out.append(weights.ravel().tolist())
    return out


def inverse_power(matrix, exponent, epsilon):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * (np.maximum(values, 0.0) + epsilon) ** -exponent) @ vectors.T


def norm(x):
    return np.sqrt(np.sum(x * x))


def shampoo(exponent=0.25, beta_1=0.9, beta_2=0.999, epsilon=1e-6, decay=0.05, period=5, start=5,
            graft_beta=0.999, graft_epsilon=1e-8):
    """Distributed Shampoo with Adam grafted, all roots refreshed in the same steps."""
    left, right = np.zeros((ROWS, ROWS)), np.zeros((COLUMNS, COLUMNS))
    m, v = np.zeros((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
    root_left, root_right = np.eye(ROWS), np.eye(COLUMNS)
    out, t = None, 0
    while True:
        g, w = yield out
        t += 1
        left = beta_2 * left + (1 - beta_2) * g @ g.T
        right = beta_2 * right + (1 - beta_2) * g.T @ g
        correction = 1 - beta_2**t
        if t == start or (t > start and t % period == 0):
            root_left = inverse_power(left / correction, exponent, epsilon)
            root_right = inverse_power(right / correction, exponent, epsilon)
        m = beta_1 * m + (1 - beta_1) * g
        v = graft_beta * v + (1 - graft_beta) * g**2
        average = m / (1 - beta_1**t)
        adam = average / (np.sqrt(v / (1 - graft_beta**t)) + graft_epsilon)
        update = adam
        if t >= start:
            update = root_left @ average @ root_right
            update = update * norm(adam) / norm(update)
        out = w - LR * (update + decay * w)


def soap(beta_1=0.95, beta_2=0.95, epsilon=1e-8, decay=0.05, period=5):
    """SOAP: the first gradient makes the bases, later ones move."""
    left, right = np.zeros((ROWS, ROWS)), np.zeros((COLUMNS, COLUMNS))
    m, v = np.zeros((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
    bases, out, k = None, None, 0

    def refreshed(factor, basis):
        order = np.argsort(-np.diag(basis.T @ factor @ basis), kind="stable")
        return np.linalg.qr(factor @ basis[:, order])[0], order

    while True:
        g, w = yield out
        if bases is not None:
            k += 1
            q_left, q_right = bases
            rotated = q_left.T @ g @ q_right
            m = beta_1 * m + (1 - beta_1) * rotated
            v = beta_2 * v + (1 - beta_2) * rotated**2
            update = q_left @ (m / (np.sqrt(v) + epsilon)) @ q_right.T
            w = w - LR * np.sqrt(1 - beta_2**k) / (1 - beta_1**k) * update
            w = w - LR * decay * w
        left = beta_2 * left + (1 - beta_2) * g @ g.T
        right = beta_2 * right + (1 - beta_2) * g.T @ g
        if bases is None:
            bases = [np.linalg.eigh(s)[1][:, ::-1] for s in (left, right)]
        elif k % period == 0:
            original = bases[0] @ m @ bases[1].T
            q_left, rows = refreshed(left, bases[0])
            q_right, columns = refreshed(right, bases[1])
            bases, v = (q_left, q_right), v[rows][:, columns]
            m = q_left.T @ original @ q_right
        out = w


def kl(soap_moments, beta_1=0.9, beta_2=0.98, epsilon=1e-8, decay=0.05, period=5, initial=0.1,
       clamp=4000.0):
    """KL-Shampoo, or KL-SOAP: factors whitened by each other, eigenvalues followed every step."""

    def rule():
        left, right = np.zeros((ROWS, ROWS)), np.zeros((COLUMNS, COLUMNS))
        d_left, d_right = np.full(ROWS, initial), np.full(COLUMNS, initial)
        m, v = np.zeros((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
        bases, out, k = None, None, 0

        def floor(d):
            return max(10.0, min(float(len(d)), clamp)) ** -2

        while True:
            g, w = yield out
            if bases is None:
                left = (1 - beta_2) * g @ g.T / COLUMNS
                right = (1 - beta_2) * g.T @ g / ROWS
                bases = [np.linalg.eigh(s)[1][:, ::-1] for s in (left, right)]
                out = w
                continue
            k += 1
            q_left, q_right = bases
            if soap_moments:
                rotated = q_left.T @ g @ q_right
                m = beta_1 * m + (1 - beta_1) * rotated
                v = beta_2 * v + (1 - beta_2) * rotated**2
                scaled = m / (np.sqrt(v) + epsilon)
            else:
                m = beta_1 * m + (1 - beta_1) * g
                root = 1 / np.sqrt(np.outer(d_left, d_right))
                scaled = (q_left.T @ m @ q_right) * root / (1 + root * epsilon)
            w = w - LR * q_left @ scaled @ q_right.T
            out = w - LR * decay * w

            inverse_left = q_left / d_left @ q_left.T
            inverse_right = q_right / d_right @ q_right.T
            new_left = g @ inverse_right @ g.T / COLUMNS
            new_right = g.T @ inverse_left @ g / ROWS
            left = beta_2 * left + (1 - beta_2) * new_left
            right = beta_2 * right + (1 - beta_2) * new_right
            seen = np.diag(q_left.T @ new_left @ q_left)
            d_left = np.maximum(beta_2 * d_left + (1 - beta_2) * seen, floor(d_left))
            seen = np.diag(q_right.T @ new_right @ q_right)
            d_right = np.maximum(beta_2 * d_right + (1 - beta_2) * seen, floor(d_right))
            if k % period == 0:
                new = [np.linalg.qr(left @ q_left)[0], np.linalg.qr(right @ q_right)[0]]
                if soap_moments:
                    m = new[0].T @ (q_left @ m @ q_right.T) @ new[1]
                bases = new

    return rule


def main():
    start, gradients = inputs()
    rules = {
        "shampoo": shampoo,
        "shampoo_half": lambda: shampoo(exponent=0.5),
        "soap": soap,
        "kl_shampoo": kl(soap_moments=False),
        "kl_soap": kl(soap_moments=True),
    }
    traces = {name: trace(rule, gradients, start) for name, rule in rules.items()}
    traces["gradients"] = [g.ravel().tolist() for g in gradients]
    traces["start"] = [start.ravel().tolist()]
    print(json.dumps(traces))


if __name__ == "__main__":
    main()
