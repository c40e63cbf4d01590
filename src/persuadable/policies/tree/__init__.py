"""Policies learned straight from doubly robust scores: trees that a person can read, and a classifier that cannot."""

from __future__ import annotations

from persuadable.policies.tree.classify import ClassificationPolicy
from persuadable.policies.tree.policy import PolicyTree
from persuadable.policies.tree.rules import Rule, Rules
from persuadable.policies.tree.scores import net_scores

__all__ = ["ClassificationPolicy", "PolicyTree", "Rule", "Rules", "net_scores"]
