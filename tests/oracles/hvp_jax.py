"""Hessian-vector products of three models by JAX, in double precision.

Run as `python hvp_jax.py > ../../crates/osculate-curvature/tests/data/hvp.json` with jax and numpy
installed. Parameters are drawn once and written beside the results, keyed by burn's paths; every
array is a flat list in row-major order.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
RANDOM = np.random.default_rng(20)


def linear(p, name, x):
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def normalise(x, axes):
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5)


def cross_entropy(logits, labels):
    rows = jnp.arange(len(labels))
    return -jax.nn.log_softmax(logits)[rows, labels].mean()


def mlp(p, x):
    return linear(p, "second", gelu(linear(p, "first", x)))


def conv_net(p, x):
    x = jax.lax.conv_general_dilated(x, p["conv.weight"], (1, 1), "VALID")
    x = x + p["conv.bias"][None, :, None, None]
    batch, channels, height, width = x.shape
    x = normalise(x.reshape(batch, 2, -1), 2).reshape(x.shape)
    x = x * p["norm.gamma"][None, :, None, None] + p["norm.beta"][None, :, None, None]
    x = x * jax.nn.sigmoid(x)
    x = x.reshape(batch, channels, height // 2, 2, width // 2, 2).max((3, 5))
    return linear(p, "head", x.reshape(batch, -1))


def transformer(p, tokens):
    heads, table = 2, p["embedding.weight"]
    x = table[tokens]
    batch, length, width = x.shape
    normal = normalise(x, 2) * p["norm.gamma"] + p["norm.beta"]

    def split(name):
        y = linear(p, f"attention.{name}", normal)
        return y.reshape(batch, length, heads, width // heads).swapaxes(1, 2)

    q, k, v = split("query"), split("key"), split("value")
    # burn computes this factor in single precision.
    scale = float(np.sqrt(np.float32(width // heads)))
    scores = q @ k.swapaxes(2, 3) / scale
    causal = np.tril(np.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e9))
    context = (weights @ v).swapaxes(1, 2).reshape(batch, length, width)
    x = x + linear(p, "attention.output", context)
    x = x + linear(p, "down", gelu(linear(p, "up", x)))
    return x.reshape(-1, width) @ table.T


def draw(shapes):
    return {path: RANDOM.normal(size=shape) * 0.5 for path, shape in shapes.items()}


def layer(name, inputs, outputs):
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


def case(forward, shapes, inputs, labels):
    parameters, direction = draw(shapes), draw(shapes)

    def loss(p):
        return cross_entropy(forward(p, inputs), labels)

    value, gradient = jax.value_and_grad(loss)(parameters)
    product = jax.jvp(jax.grad(loss), (parameters,), (direction,))[1]
    flat = lambda arrays: {k: np.asarray(a).ravel().tolist() for k, a in arrays.items()}
    return {
        "inputs": np.asarray(inputs).ravel().tolist(),
        "labels": np.asarray(labels).tolist(),
        "parameters": flat(parameters),
        "direction": flat(direction),
        "loss": float(value),
        "gradient": flat(gradient),
        "product": flat(product),
    }


def attention_layers(width):
    layers = {}
    for name in ("query", "key", "value", "output"):
        layers |= layer(f"attention.{name}", width, width)
    return layers


RESULT = {
    "made_by": {"jax": jax.__version__, "numpy": np.__version__},
    "mlp": case(
        mlp,
        layer("first", 5, 8) | layer("second", 8, 4),
        RANDOM.normal(size=(10, 5)),
        RANDOM.integers(0, 4, 10),
    ),
    "conv_net": case(
        conv_net,
        {"conv.weight": (4, 1, 3, 3), "conv.bias": (4,), "norm.gamma": (4,), "norm.beta": (4,)}
        | layer("head", 16, 3),
        RANDOM.normal(size=(3, 1, 6, 6)),
        RANDOM.integers(0, 3, 3),
    ),
    "transformer": case(
        transformer,
        {"embedding.weight": (5, 4), "norm.gamma": (4,), "norm.beta": (4,)}
        | attention_layers(4)
        | layer("up", 4, 6)
        | layer("down", 6, 4),
        RANDOM.integers(0, 5, (2, 6)),
        RANDOM.integers(0, 5, 12),
    ),
}
print(json.dumps(RESULT))
