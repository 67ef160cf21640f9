"""`two_devices.py ARGUMENTS OF train.py`: trains on two logical devices of this processor, with
STATELESS a network without batch norm.
"""

import os
import sys
from pathlib import Path

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)  # before Keras uses them

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tiny

from polypseg.commands import train
from polypseg.console.run import run

tiny.install(stateless="STATELESS" in os.environ)
run(train.main)
