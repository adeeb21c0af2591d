"""The live rules, each with its law in the book. Importing this writes them there."""

from trueformer.doctor.watch.rule import Rule
from trueformer.doctor.watch.rules.losses import Accumulation, FirstLoss, LossSign
from trueformer.doctor.watch.rules.memory import Memory, MemoryGrowth
from trueformer.doctor.watch.rules.modes import EvalNoGrad, Mode
from trueformer.doctor.watch.rules.order import ClipOrder, ClipPart, ZeroGrad
from trueformer.doctor.watch.rules.parameters import ForeignParameters, Frozen, LeftOut
from trueformer.doctor.watch.rules.rates import LearningRate, LearningRatePath, LossScale, Plan
from trueformer.doctor.watch.rules.schedule import ScheduleOrder
from trueformer.doctor.watch.rules.updates import Finite, LostUpdates, Unmoved, UpdateRatio

RULES: tuple[type[Rule], ...] = (
    ZeroGrad,
    ClipOrder,
    ClipPart,
    ScheduleOrder,
    Frozen,
    LeftOut,
    ForeignParameters,
    Unmoved,
    UpdateRatio,
    LostUpdates,
    Finite,
    Mode,
    EvalNoGrad,
    LossSign,
    FirstLoss,
    Accumulation,
    Memory,
    MemoryGrowth,
    LearningRate,
    LearningRatePath,
    LossScale,
    Plan,
)
