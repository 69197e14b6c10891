"""`ExecutorExceptionPolicies`: what becomes of the other tasks when one fails."""

from __future__ import annotations

import enum

from connectors._errors import did_you_mean, listing


class ExecutorExceptionPolicies(enum.Enum):
    """What becomes of the other tasks of a group when one fails.

    Each value is also its name as a string, and wherever a policy is taken the string does as well.
    """

    stop_all = "stop_all"  #: Stop all, wait for all, and raise nothing.
    propagate = "propagate"  #: Stop all, wait for all, and raise the failure.
    log_only = "log_only"  #: Log the failure, and let the others go on.


def checked_policy(policy: object) -> ExecutorExceptionPolicies:
    """Return the policy that *policy* is or names.

    Raises:
        ValueError: There is none of this name.
    """
    if isinstance(policy, ExecutorExceptionPolicies):
        return policy
    names = [each.value for each in ExecutorExceptionPolicies]
    if isinstance(policy, str) and policy in names:
        return ExecutorExceptionPolicies(policy)
    hint = did_you_mean(policy, names) if isinstance(policy, str) else ""
    raise ValueError(f"no failure policy {policy!r}; allowed: {listing(names)}.{hint}")
