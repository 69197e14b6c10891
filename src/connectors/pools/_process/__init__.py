"""The process pool, one file per concern.

```text
_pool      ProcessPool: what the user holds
_core      its engine: calls in, outcomes out, one thread that reads
_schedule  which call goes to which worker; knows no pipe and no process
_worker    one worker as its parent sees it
_launch    starts workers, by way of ...
_template  ... a small process that forks them, buries them and hears their last words
_child     what a worker does all its life
_wire      frames on a socket
_memory    large buffers, which travel beside the socket
```
"""
