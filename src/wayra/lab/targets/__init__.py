"""What is measured: a model in this process or one behind an OpenAI-compatible URL, asked the same way."""

from wayra.lab.targets.api import Ask, Reply, Target
from wayra.lab.targets.local import LocalTarget
from wayra.lab.targets.openai import OpenAITarget, OpenAITargetSettings

__all__ = ["Ask", "LocalTarget", "OpenAITarget", "OpenAITargetSettings", "Reply", "Target"]
