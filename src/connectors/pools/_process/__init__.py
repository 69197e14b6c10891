"""The process pool, one file per concern.

```text
_pool      ProcessPool: what the user holds
_core      its engine: what is asked of it, how it begins and ends
_reader    the one thread that reads
_crew      what that thread does with workers: heed, take back, start, bury
_desk      what callers do: send calls; it can be interrupted anywhere
_attend    how a caller that waits hears its answer itself
_outcomes  what became of calls, and how their futures come to know it
_schedule  which call goes to which worker; knows no pipe and no process
_ticket    a call: the future that its caller holds
_alarms    what is to be seen to at a certain time
_shelf     scattered values, in the pool's process ...
_scatter   ... and in the workers
_ear       waits until something can be heard
_worker    one worker as its parent sees it
_starter   starts the workers of one pool, by way of ...
_launch    ... the template that all pools share, ...
_template  ... a small process that forks them, buries them and hears their last words
_child     what a worker does all its life
_wire      frames on a socket
_memory    large buffers, which travel beside the socket
_files     files that do
```
"""
