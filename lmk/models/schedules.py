"""Learning rates: schedules, factors by depth, and optimizers that take them."""

from collections.abc import Mapping

import keras
from keras.optimizers import Optimizer
from keras.optimizers.schedules import LearningRateSchedule as Schedule


def warmup_cosine(peak: float, steps: int, warmup_steps: int = 0, start: float = 0.1, floor: float = 0.0) -> Schedule:
    """A learning rate that rises evenly from `start * peak` to `peak`, then falls to `floor * peak` along a cosine.

    steps: Batches in all, the warm-up with them. Loshchilov and Hutter, arXiv:1608.03983.
    """
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"A warm-up of {warmup_steps} steps does not fit into {steps}.")
    warmup = {"warmup_target": peak, "warmup_steps": warmup_steps} if warmup_steps else {}
    first = start * peak if warmup_steps else peak
    return keras.optimizers.schedules.CosineDecay(first, steps - warmup_steps, alpha=floor, **warmup)


@keras.saving.register_keras_serializable("lmk")
class Scaled(Schedule):
    """A learning rate, a number or a schedule, times a constant."""

    def __init__(self, schedule: Schedule, factor: float):
        super().__init__()
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        return self.schedule(step) * self.factor

    def get_config(self):
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["factor"])


def depth_multipliers(network: keras.Model, groups: int = 4, decay: float = 0.3) -> dict[str, float]:
    """Learning-rate multipliers of a backbone's layers: `decay` for those nearest its end, less by as much each group.

    The first layers know what edges are on any photo; the last ones have to learn. Howard and Ruder, arXiv:1801.06146.

    Args:
        network: The backbone.
        groups: Into how many runs of layers, of about as many layers with weights each, it is cut.
        decay: In (0, 1].

    Returns:
        Multiplier by variable path, for `make_optimizer`.
    """
    layers = [layer for layer in network.layers if layer.weights]
    multipliers = {}
    for place, layer in enumerate(layers):
        from_end = groups - 1 - place * groups // len(layers)
        multipliers.update({variable.path: decay ** (from_end + 1) for variable in layer.weights})
    return multipliers


def make_optimizer(
    name: str,
    learning_rate: float | Schedule,
    multipliers: Mapping[str, float] | None = None,
    weight_decay: float | None = None,
    ema_momentum: float | None = None,
    accumulate: int = 1,
) -> Optimizer:
    """An optimizer, with its own learning rate for some variables.

    Args:
        name: As Keras knows it, such as `adam`, `adamw`; `sgd` has Nesterov momentum 0.9.
        learning_rate: A number or a schedule.
        multipliers: Factor of the learning rate by variable path; 1 for variables that are not in it.
        weight_decay: Decoupled from the gradient.
        ema_momentum: In (0, 1): keep an exponential moving average of the weights, which `fit` puts in their place when
            it ends.
        accumulate: Batches whose gradients are averaged for one update.
    """

    def one(factor: float) -> Optimizer:
        rate = learning_rate if factor == 1 else _scaled(learning_rate, factor)
        config = {"learning_rate": rate, "weight_decay": weight_decay}
        if name == "sgd":
            config |= {"momentum": 0.9, "nesterov": True}
        if ema_momentum is not None:
            config |= {"use_ema": True, "ema_momentum": ema_momentum}
        if accumulate > 1:
            config |= {"gradient_accumulation_steps": accumulate}
        optimizer = keras.optimizers.get(name)
        return type(optimizer)(**config)

    if not multipliers:
        return one(1)
    # One optimizer a factor, not a variable: each has its own step counter and slots on the device.
    by_factor = {factor: one(factor) for factor in sorted(set(multipliers.values()))}
    chosen = {path: by_factor[factor] for path, factor in multipliers.items()}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(one(1), chosen))


def _scaled(learning_rate: float | Schedule, factor: float) -> float | Schedule:
    return Scaled(learning_rate, factor) if isinstance(learning_rate, Schedule) else learning_rate * factor
