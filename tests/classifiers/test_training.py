"""Training: one seam for windows and images; restarts; losses; architectures."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402

from is2ice.classifiers import architectures, losses, training  # noqa: E402
from is2ice.classifiers.replicas import Alone, launched, started_as  # noqa: E402
from is2ice.errors import ModelError  # noqa: E402


def windows(n: int = 1200, steps: int = 3, features: int = 2, seed: int = 0):
    """Three classes told apart by the middle of a window."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=(0.7, 0.2, 0.1)).astype("i4")
    x = rng.normal(0.0, 0.4, (n, steps, features)).astype("f4")
    x[:, steps // 2, 0] += y
    x[:, steps // 2, 1] += y == 2
    return x, y


def small(seed: int = 0, dropout: float = 0.0):
    return architectures.build("mlp", 3, 2, seed=seed, units=16, dropout=dropout)


def weights(model) -> list[np.ndarray]:
    return [v.numpy() for v in model.weights]


class Killed(Exception):
    pass


# -- architectures ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "features", "count"), [("lstm", 6, 19_475), ("lstm_notebook", 8, 12_051), ("mlp", 6, 1_091)]
)
def test_published_architectures_have_the_published_number_of_parameters(name, features, count):
    assert architectures.build(name, 5, features).count_params() == count


def test_published_layers():
    layers = architectures.build("lstm", 5, 6).layers
    assert [type(v).__name__ for v in layers[1:3]] == ["LSTM", "Dropout"]
    assert layers[1].units == 16
    assert layers[1].activation is keras.activations.elu
    assert layers[2].rate == 0.2
    assert [v.units for v in layers[3:]] == [32, 96, 32, 16, 112, 48, 64, 3]
    assert layers[-1].activation is keras.activations.linear  # logits


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_every_architecture_gives_logits_of_the_classes(name):
    context = architectures.ARCHITECTURES[name].context
    model = architectures.build(name, 2 * context + 1, 4)
    x = np.random.default_rng(0).normal(size=(7, 2 * context + 1, 4)).astype("f4")
    logits = model(x, training=False).numpy()
    assert logits.shape == (7, 3)
    assert (logits < 0).any()  # no softmax
    assert set(architectures.ARCHITECTURES[name].training) >= {"loss", "batch", "learning_rate", "epochs"}


def test_the_seed_fixes_the_weights_and_leaves_other_generators_alone():
    import random

    random.seed(3)
    expected = random.random()
    random.seed(3)
    first, second, other = (weights(architectures.build("lstm", 5, 6, seed=s)) for s in (1, 1, 2))
    assert random.random() == expected
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: architectures.build("cnn", 5, 6), "expected one of lstm, mlp"),
        (lambda: architectures.build("mlp", 5, 6, heads=2), r"mlp has no \['heads'\]; it has units, dropout"),
        (lambda: architectures.build("mlp", 4, 6), "expected an odd number"),
    ],
)
def test_wrong_architectures_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- losses -------------------------------------------------------------------------------------------
def test_focal_loss_is_that_of_the_formula_and_skips_the_unlabelled():
    logits = np.array([[2.0, 0.5, -1.0], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]], "f4")
    labels = np.array([0, -1, 2], "i4")
    alpha = (0.05, 0.45, 0.60)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = [
        -0.05 * (1 - p[0, 0]) ** 2 * np.log(p[0, 0]),
        0.0,
        -0.60 * (1 - p[2, 2]) ** 2 * np.log(p[2, 2]),
    ]
    got = losses.focal(alpha)(tf.constant(labels), tf.constant(logits)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_focal_loss_is_keras_own_where_that_has_one():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 3)).astype("f4"), rng.integers(0, 3, 50)
    own = keras.losses.CategoricalFocalCrossentropy(
        alpha=np.array(losses.ALPHA), gamma=2.0, from_logits=True, reduction=None
    )(keras.utils.to_categorical(labels, 3), logits)
    ours = losses.focal(losses.ALPHA)(tf.constant(labels, tf.int32), tf.constant(logits))
    # Keras sums over classes, of which only the true one counts, as here.
    np.testing.assert_allclose(ours.numpy(), np.asarray(own), rtol=1e-4, atol=1e-6)


def test_balanced_weights_make_classes_count_alike():
    labels = np.repeat([0, 1, 2, -1], [70, 20, 10, 50])
    w = np.array(losses.balanced(labels, 3))
    np.testing.assert_allclose(w * [70, 20, 10], 100 / 3)
    assert losses.balanced(np.array([0, 0, 2]), 3)[1] == 1.0  # absent: no weight to speak of, not infinite
    with pytest.raises(ValueError, match="no sample is labelled"):
        losses.balanced(np.full(4, -1), 3)


# -- fit ----------------------------------------------------------------------------------------------
def test_fit_learns_windows_and_keeps_the_best_epoch():
    model = small()
    rows: list[dict[str, float]] = []
    history = training.fit(
        model, windows(), windows(400, seed=1), class_weights="balanced", epochs=6, progress=rows.append
    )
    assert rows == history.epochs
    assert len(rows) == 6
    assert history.column("loss")[-1] < 0.5 * history.column("loss")[0]
    assert max(history.column("val_accuracy")) > 0.85
    x, y = windows(400, seed=1)
    accuracy = np.mean(model(x).numpy().argmax(1) == y)
    assert accuracy == pytest.approx(history.epochs[history.best]["val_accuracy"], abs=1e-6)
    assert history.best == int(np.argmin(history.column("val_loss")))
    assert history.settings["class_weights"][2] > history.settings["class_weights"][0]


def test_fit_takes_images_unlabelled_pixels_and_whatever_can_be_indexed():
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 3, (24, 4, 4)), 2, axis=1).repeat(2, axis=2).astype("i1")
    pictures = (y[..., None] * 60 + rng.integers(0, 20, (*y.shape, 2))).astype("u1")
    y[:, :2] = -1

    class Lazy:
        shape = pictures.shape
        asked = 0

        def __len__(self):
            return len(pictures)

        def __getitem__(self, rows):
            Lazy.asked = max(Lazy.asked, np.size(rows))
            return pictures[rows]

    inputs = keras.Input((8, 8, 2))
    hidden = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(
        keras.layers.Rescaling(1 / 128, offset=-0.5)(inputs)
    )
    hidden = keras.layers.BatchNormalization()(hidden)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(hidden))
    history = training.fit(
        model, (Lazy(), y), (pictures, y), loss="cross_entropy", epochs=15, batch=4, learning_rate=0.01
    )
    assert history.epochs[history.best]["val_accuracy"] > 0.9
    assert Lazy.asked <= 24


def test_unlabelled_samples_teach_nothing():
    x, y = windows()
    some = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    model = small()
    before = weights(model)
    training.fit(model, (x, np.full_like(y, -1)), epochs=1)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True))
    history = training.fit(model, (x, some), epochs=2)
    assert 0.0 < history.column("accuracy")[-1] <= 1.0


def test_same_seed_same_weights():
    a, b, c = small(dropout=0.3), small(dropout=0.3), small(dropout=0.3)
    for model, seed in ((a, 5), (b, 5), (c, 6)):
        training.fit(model, windows(), epochs=2, seed=seed)
    assert all(np.array_equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))
    assert not np.array_equal(weights(a)[0], weights(c)[0])


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    whole, broken = small(dropout=0.3), small(dropout=0.3)
    train, held = windows(), windows(300, seed=1)
    expected = training.fit(whole, train, held, epochs=5)

    def kill(row):
        if len(seen) == 2:
            raise Killed
        seen.append(row)

    seen: list[dict[str, float]] = []
    path = tmp_path / "c.npz"
    with pytest.raises(Killed):
        training.fit(broken, train, held, epochs=5, checkpoint=path, progress=kill)
    again = small(seed=9, dropout=0.3)
    history = training.fit(again, train, held, epochs=5, checkpoint=path)
    assert history.resumed_at == 3
    assert history.column("val_loss") == pytest.approx(expected.column("val_loss"), abs=1e-6)
    for a, b in zip(weights(whole), weights(again), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.npz"]


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    training.fit(small(), windows(), epochs=1, checkpoint=path)
    with pytest.raises(ModelError, match="checkpoint of another training"):
        training.fit(small(), windows(seed=2), epochs=2, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="truncated"):
        training.fit(small(), windows(), epochs=2, checkpoint=path)


def test_patience_stops_a_training_that_no_longer_improves():
    x, y = windows(300)
    held = (x, np.random.default_rng(0).permutation(y))  # nothing can be learnt for these
    history = training.fit(small(), (x, y), held, epochs=60, learning_rate=0.02, patience=3)
    assert len(history.epochs) < 60
    assert len(history.epochs) == history.best + 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": (np.zeros((3, 3, 2), "f4"), np.zeros(4, int))}, "3 samples and 4 labels"),
        ({"train": (np.zeros((3, 3, 2), "f4"), np.zeros(3))}, "expected class codes"),
        ({"loss": "mse"}, "expected 'focal', 'cross_entropy' or a callable"),
        ({"class_weights": (1.0, 2.0)}, "2 given, the model has 3 classes"),
        ({"class_weights": "even"}, "expected 'balanced'"),
        ({"class_weights": (1.0, -2.0, 1.0)}, "expected one number >= 0 a class"),
        ({"train": (np.full((64, 3, 2), np.nan, "f4"), np.zeros(64, int))}, "the loss is not a number"),
    ],
)
def test_wrong_input_is_named(change, message):
    arguments = {"train": windows(100), "epochs": 1} | change
    with pytest.raises(ValueError, match=message):
        training.fit(small(), **arguments)


def test_alone_unless_launched_otherwise(monkeypatch):
    for prefix in ("HOROVOD", "OMPI_COMM_WORLD", "PMI"):
        monkeypatch.delenv(f"{prefix}_SIZE", raising=False)
    assert started_as() == (0, 1)
    alone = launched()
    assert isinstance(alone, Alone)
    assert alone.shard(5).tolist() == [0, 1, 2, 3, 4]
    assert alone.is_root
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    assert started_as() == (3, 4)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 0}, {"learning_rate": -0.1}, {"learning_rate": 0.0}]
)
def test_no_training_is_no_training(wrong):
    with pytest.raises(
        ValueError, match="expected epochs and batch of at least 1 and a learning_rate above 0"
    ):
        training.fit(small(), windows(4), **wrong)


def test_states_are_averaged_as_often_as_asked_for_whatever_is_handed_over_at_once(monkeypatch):
    import tensorflow as tf

    class Noting(Alone):
        size, compiles = 2, False

        def average(self, flat):
            tf.py_function(lambda: seen.append(int(step.optimizer.iterations.numpy())), [], [])
            return flat

    seen: list[int] = []
    x, y = windows(18 * 4)
    monkeypatch.setattr(training, "_STEPS", 3)
    step = training.TrainStep(small(), losses.focal(None, 2.0), 0.003, 4, Noting(), False, every=7)
    for epoch in range(2):
        step.train(x, y, np.arange(len(y)), epoch)
    assert seen == [7, 14, 18, 18 + 7, 18 + 14, 36]


def test_steps_called_one_by_one_train_as_steps_compiled_together():
    """What replicas that no compiler sees do between two averages changes nothing but rounding."""

    class Apart(Alone):
        compiles = False
        averaged = 0

        def average(self, gradients):
            type(self).averaged += 1  # once for the loop's body, once after it
            return gradients

    models_ = []
    for replicas in (Alone(), Apart()):
        model = small(dropout=0.3)
        training.fit(model, windows(333), epochs=3, replicas=replicas, seed=1)
        models_.append(weights(model))
    assert Apart.averaged == 2
    for one, other in zip(*models_, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
