"""Traces of PSGD and Muon over 50 fixed gradients, in double precision.

Written from the papers, apart from the crate: one class a method, one parameter at a time, plain
numpy, spectral norms from numpy's singular values, inverses from numpy's solver. Run it to write
../data/matrix_traces.json, which tests/methods/traces.rs compares with.
"""
import json
import os

import numpy as np

STEPS = 50
KEPT = [0, 9, 24, 49]
SHAPES = {"matrix": (4, 6), "tensor": (2, 3, 4), "vector": (5,)}


def wave(n, phase):
    """Numbers between -1 and 1 without a pattern that a low rank could describe."""
    i = np.arange(1, n + 1)
    x = np.sin(i * 12.9898 + phase * 78.233) * 43758.5453
    return 2 * (x - np.floor(x)) - 1


def gradient(shape, step):
    n = int(np.prod(shape))
    # A slow part that all steps share, so that there is something to average and to whiten.
    g = wave(n, step + 1) + 0.5 * wave(n, 0.5)
    return (g * (1 + np.arange(n) % 3)).reshape(shape)


def probe(n, step):
    return np.where(wave(n, 0.25 + step) >= 0, 1.0, -1.0)


def start(shape):
    return wave(int(np.prod(shape)), 0.75).reshape(shape)


def clip(d):
    rms = np.sqrt(np.mean(d * d))
    return np.clip(d * min(1.0, 2.0 / rms), -10, 10)


def first_scale(h):
    return np.mean(h**4) ** (-1 / 8)


class Lipschitz:
    def __init__(self):
        self.value = 0.0

    def __call__(self, present):
        self.value = max(0.9 * self.value + 0.1 * present, present)
        return self.value


class Averaged:
    def __init__(self, momentum):
        self.m, self.t, self.momentum = 0.0, 0, momentum

    def __call__(self, g):
        b = min(self.t / (self.t + 1), self.momentum)
        self.t += 1
        self.m = b * self.m + (1 - b) * g
        return self.m


def unfold(x, mode):
    return np.moveaxis(x, mode, 0).reshape(x.shape[mode], -1)


def along(x, mode, a):
    return np.moveaxis(np.tensordot(a, x, axes=(1, mode)), 0, mode)


def procrustes(q):
    r = q.T - q
    size = np.linalg.norm(r, 2)
    if size == 0:
        return q
    r = r / size
    t1, t2 = np.trace(r @ q), np.trace(r @ r @ q)
    a = min(-t1 / t2, 1 / 8) if t2 < 0 else 1 / 8
    return q + a * (r @ q) + a * a / 2 * (r @ r @ q)


class Kron:
    """PSGD-Kron, whitening of the gradient, update before use."""

    def __init__(self, shape, geometry, momentum):
        n = np.prod(shape)
        self.geometry = geometry
        self.dense = [d * d <= n and d > 1 for d in shape]
        self.q = None
        self.bounds = [Lipschitz() for _ in shape]
        self.average = Averaged(momentum)

    def p(self, x):
        for mode, q in enumerate(self.q):
            x = along(x, mode, q.T @ q)
        return x

    def direction(self, g, step):
        if self.q is None:
            s = first_scale(g) ** (1 / g.ndim)
            self.q = [s * np.eye(d) for d in g.shape]
        x, new = self.p(g), []
        for mode, q in enumerate(self.q):
            d = g.shape[mode]
            u = unfold(x, mode)
            t1, t2 = u @ u.T, g.size / d * np.eye(d)
            if not self.dense[mode]:
                t1 = np.diag(np.diag(t1))
            mu = 0.1 / self.bounds[mode](np.linalg.norm(t1 + t2, 2))
            e = t1 - t2
            if self.geometry == "quad":
                left = np.eye(d) - mu / 2 * e
                moved = left @ q @ left if self.dense[mode] else q @ left @ left
                new.append((moved + moved.T) / 2)
            else:
                moved = q - mu * e @ q
                new.append(procrustes(moved) if self.dense[mode] else moved)
        self.q = new
        return clip(self.p(self.average(g)))


class Dense:
    """PSGD with a full matrix in the quadratic geometry, whitening with the expected probe."""

    def __init__(self, shape, momentum):
        self.q, self.bound, self.average = None, Lipschitz(), Averaged(momentum)

    def direction(self, g, step):
        h = g.ravel()
        if self.q is None:
            self.q = first_scale(h) * np.eye(h.size)
        a = self.q.T @ self.q @ h
        mu = 0.1 / self.bound(a @ a + 1)
        left = np.eye(h.size) - mu / 2 * (np.outer(a, a) - np.eye(h.size))
        self.q = left @ self.q @ left
        self.q = (self.q + self.q.T) / 2
        return clip((self.q.T @ self.q @ self.average(g).ravel()).reshape(g.shape))


class Diagonal:
    """PSGD with a diagonal."""

    def __init__(self, shape, momentum):
        self.q, self.bound, self.average = None, Lipschitz(), Averaged(momentum)

    def direction(self, g, step):
        if self.q is None:
            self.q = np.full(g.shape, first_scale(g))
        x = (self.q**2 * g) ** 2
        mu = 0.1 / self.bound(np.max(x + 1))
        self.q = self.q * (1 - mu * (x - 1))
        return clip(self.q**2 * self.average(g))


class LowRank:
    """PSGD with Q = (I + U V^T) diag(d); the first U and V come from the caller."""

    def __init__(self, shape, rank, momentum):
        n = int(np.prod(shape))
        self.u = 0.1 * wave(n * rank, 0.1).reshape(n, rank)
        self.v = 0.1 * wave(n * rank, 0.2).reshape(n, rank)
        self.d = np.ones(n)
        self.bounds = [Lipschitz() for _ in range(3)]
        self.average = Averaged(momentum)

    def q(self):
        n = self.d.size
        return (np.eye(n) + self.u @ self.v.T) @ np.diag(self.d)

    def direction(self, g, step):
        h, v = g.ravel(), probe(g.size, step)
        tu, tv = np.sum(self.u**2), np.sum(self.v**2)
        rho = (tu / tv) ** 0.25
        uu, vv = self.u.T @ self.u / rho**2, self.v.T @ self.v * rho**2
        e = 0.1 * (uu - vv) / (tu / rho**2 + tv * rho**2)
        eye = np.eye(len(e))
        self.u = self.u / rho @ (eye - e + e @ e / 2)
        self.v = self.v * rho @ (eye + e + e @ e / 2)
        q = self.q()
        a, b = q @ h, np.linalg.solve(q.T, v)
        ph, pv = q.T @ a, np.linalg.solve(q, b)
        m = np.eye(self.u.shape[1]) + self.v.T @ self.u
        length = np.linalg.norm
        mu = 0.1 / self.bounds[2](np.max(np.abs(ph * h)) + np.max(np.abs(v * pv)))
        d = self.d - mu * (ph * h - v * pv) * self.d
        if step % 2 == 0:
            pa, pb = self.v.T @ a, self.v.T @ b
            mu = 0.1 / self.bounds[0](
                length(a) * length(self.v @ pa) + length(b) * length(self.v @ pb)
            )
            self.u = self.u - mu * (np.outer(a, pa) - np.outer(b, pb)) @ m
        else:
            pa, pb = self.u.T @ a, self.u.T @ b
            mu = 0.1 / self.bounds[1](
                length(a) * length(self.u @ pa) + length(b) * length(self.u @ pb)
            )
            change = np.outer(a + self.v @ pa, pa) - np.outer(b + self.v @ pb, pb)
            self.v = self.v - mu * change
        self.d = d
        q = self.q()
        return clip((q.T @ q @ self.average(g).ravel()).reshape(g.shape))


class Muon:
    """Momentum with its exact polar factor, or five quintic iterations."""

    def __init__(self, shape, exact):
        self.m, self.exact = np.zeros(shape), exact

    def direction(self, g, step):
        self.m = 0.95 * self.m + 0.05 * g
        u = (0.95 * self.m + 0.05 * g).reshape(g.shape[0], -1)
        rows, columns = u.shape
        if self.exact:
            left, _, right = np.linalg.svd(u, full_matrices=False)
            o = left @ right
        else:
            x = u / np.linalg.norm(u)
            for _ in range(5):
                a = x @ x.T
                x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
            o = x
        return (o * max(1.0, rows / columns) ** 0.5).reshape(g.shape)


METHODS = {
    "kron_quad": lambda shape: Kron(shape, "quad", 0.9),
    "kron_q05eq15": lambda shape: Kron(shape, "q05eq15", 0.9),
    "kron_without_momentum": lambda shape: Kron(shape, "quad", 0.0),
    "dense": lambda shape: Dense(shape, 0.9),
    "diagonal": lambda shape: Diagonal(shape, 0.9),
    "low_rank": lambda shape: LowRank(shape, 3, 0.9),
    "muon": lambda shape: Muon(shape, True),
    "muon_newton_schulz": lambda shape: Muon(shape, False),
}


def trace(make, shape, lr=0.02, decay=0.1):
    method, w, kept = make(shape), start(shape), []
    for step in range(STEPS):
        d = method.direction(gradient(shape, step), step)
        w = w * (1 - lr * decay) - lr * d
        if step in KEPT:
            kept.append(w.ravel().tolist())
    return kept


if __name__ == "__main__":
    traces = {
        f"{name}.{kind}": trace(make, shape)
        for name, make in METHODS.items()
        for kind, shape in SHAPES.items()
    }
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "../data/matrix_traces.json"), "w") as file:
        json.dump(traces, file, indent=1)
        file.write("\n")
