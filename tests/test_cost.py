"""The counter of `benchmarks.cost` against a count by hand, and the decoders' sizes."""

import keras
import pytest

from benchmarks.cost import decoder_arguments, multiply_adds
from polypseg.pranet import PraNet
from polypseg.pranet.layers import ReverseAttention
from polypseg.pranet.spec import DECODERS


def test_multiply_adds_equal_a_count_by_hand():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(image)  # 16 x 24 positions
    x = keras.layers.DepthwiseConv2D(5)(x)  # 12 x 20 positions
    model = keras.Model(image, keras.layers.Conv2D(4, 1)(x))
    expected = 16 * 24 * (3 * 3 * 3 * 8) + 12 * 20 * (5 * 5 * 8) + 12 * 20 * (8 * 4)
    assert multiply_adds(model, (32, 48)) == expected


def test_names_and_numbers_of_decoders():
    assert decoder_arguments("slim") == DECODERS["slim"]
    assert decoder_arguments("16:64:32:30") == {"channels": 16, "reverse_channels": [64, 32, 30]}


def test_the_slim_decoder_is_smaller():
    slim = PraNet("mobilenetv2", **DECODERS["slim"])
    assert slim.count_params() < 3e6
    published = ReverseAttention(256, 5, depth=3, out_kernel_size=1)
    published.build([(None, 7, 7, 1280), (None, 7, 7, 1)])
    # By hand: 1x1 convolution to 256, three of 5x5, 1x1 to 1, four arrays of each batch norm.
    by_hand = 1280 * 256 + 3 * 25 * 256 * 256 + 256 + 4 * (4 * 256 + 1)
    assert published.count_params() == by_hand == pytest.approx(5.2e6, rel=0.02)
