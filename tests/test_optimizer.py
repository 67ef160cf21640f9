import keras
import numpy as np
import pytest

from polypseg.training.optimizer import SGD, Adam


def variables(rng):
    return [
        keras.Variable(rng.standard_normal(shape).astype("float32")) for shape in ((3, 4), (5,), ())
    ]


@pytest.mark.parametrize("decay", [None, 0.7])
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("compiled", [False, True])
def test_steps_follow_the_formula_of_adam(compiled, clip, decay):
    """Kingma & Ba, ICLR 2015, algorithm 1, in the order of its section 2 (epsilon not
    corrected). Loshchilov & Hutter, ICLR 2019, algorithm 2: the decay is outside of the moments.
    """
    import tensorflow as tf

    rng = np.random.default_rng(3)
    ours = variables(rng)
    gradients = [[rng.standard_normal(v.shape).astype("float32") for v in ours] for _ in range(4)]
    lr, b1, b2, eps = 0.01, 0.8, 0.95, 1e-5
    optimizer = Adam(lr, beta_1=b1, beta_2=b2, epsilon=eps, clipvalue=clip, weight_decay=decay)
    optimizer.build(ours)
    expected = [np.asarray(v, "float64") for v in ours]
    first, second = [0.0] * 3, [0.0] * 3
    step = (
        tf.function(lambda *g: optimizer.apply(list(g), ours))
        if compiled
        else lambda *g: optimizer.apply(list(g), ours)
    )
    for t, current in enumerate(gradients, 1):
        step(*[tf.constant(g) for g in current])
        for i, g in enumerate(current):
            g = np.float64(g) if clip is None else np.clip(np.float64(g), -clip, clip)
            first[i] = b1 * first[i] + (1 - b1) * g
            second[i] = b2 * second[i] + (1 - b2) * g**2
            rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
            if decay and expected[i].ndim > 1:  # no biases
                expected[i] = expected[i] - lr * decay * expected[i]
            expected[i] = expected[i] - rate * first[i] / (np.sqrt(second[i]) + eps)
    for v, e in zip(ours, expected, strict=True):
        np.testing.assert_allclose(np.asarray(v), e, rtol=0, atol=1e-6)


@pytest.mark.parametrize("every", [1, 2])
def test_steps_follow_the_formula_of_pytorchs_sgd(every):
    """Clipped gradient, plus decay times weight, into the momentum; every other step if gradients
    are accumulated.
    """
    rng = np.random.default_rng(4)
    ours = variables(rng)
    gradients = [[rng.standard_normal(v.shape).astype("float32") for v in ours] for _ in range(4)]
    lr, decay, clip = 0.03, 0.2, 0.3
    optimizer = SGD(
        lr,
        momentum=0.9,
        weight_decay=decay,
        clipvalue=clip,
        gradient_accumulation_steps=every if every > 1 else None,
    )
    optimizer.build(ours)
    weights, buffers = [np.asarray(v, "float64") for v in ours], [0.0] * 3
    for first in range(0, 4, every):
        for current in gradients[first : first + every]:
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in current], ours)
        for i, parts in enumerate(zip(*gradients[first : first + every])):
            g = np.clip(np.mean(np.float64(parts), axis=0), -clip, clip)
            if weights[i].ndim > 1:  # no biases
                g = g + decay * weights[i]
            buffers[i] = 0.9 * buffers[i] + g
            weights[i] = weights[i] - lr * buffers[i]
    for v, e in zip(ours, weights, strict=True):
        np.testing.assert_allclose(np.asarray(v), e, rtol=0, atol=1e-6)


def test_state_is_that_of_kerass_adam():
    rng = np.random.default_rng(5)
    ours = variables(rng)
    optimizer = Adam(0.02)
    optimizer.build(ours)
    gradients = [rng.standard_normal(v.shape).astype("float32") for v in ours]
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], ours)

    theirs = [keras.Variable(np.asarray(v)) for v in ours]
    plain = keras.optimizers.Adam(0.02)
    plain.build(theirs)
    for to, of in zip(plain.variables, optimizer.variables, strict=True):
        to.assign(of)
    for side, vs in ((optimizer, ours), (plain, theirs)):
        side.apply([keras.ops.convert_to_tensor(g) for g in gradients], vs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_a_saved_model_brings_it_back(tmp_path, kind):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(kind(0.03, clipvalue=0.1, weight_decay=0.5), "mse")
    x = np.random.default_rng(0).standard_normal((4, 2)).astype("float32")
    model.fit(x, x @ np.ones((2, 3)), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded.optimizer) is kind and loaded.optimizer.clipvalue == 0.1
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    for each in (model, loaded):  # Keras does not save which variables do not decay
        each.fit(x, x @ np.ones((2, 3)), verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
