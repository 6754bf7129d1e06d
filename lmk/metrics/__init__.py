"""Metrics of competitions behind one class: GAP, top-1 accuracy and MAP@k; another one is a file and an entry."""

from lmk.metrics.metric import Metric as Metric
from lmk.metrics.ranking import average_precision as average_precision
from lmk.metrics.ranking import gap as gap
from lmk.metrics.ranking import gap_interval as gap_interval
from lmk.metrics.ranking import rank as rank
from lmk.metrics.ranking import ranked_hits as ranked_hits
from lmk.metrics.ranking import top1_accuracy as top1_accuracy
