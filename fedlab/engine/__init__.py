"""Training: one round loop, one gate between server and sites, interchangeable transports behind it."""

from fedlab.engine.exchange import TooFewSites
from fedlab.engine.optimisers import SGD, Adam
from fedlab.engine.plan import Plan
from fedlab.engine.rounds import Event
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
from fedlab.engine.spread import Spread
from fedlab.engine.stream import stream
from fedlab.engine.train import carry_out, train

__all__ = ["SGD", "Adam", "Event", "Plan", "Run", "Settings", "Spread", "TooFewSites", "carry_out", "stream", "train"]
