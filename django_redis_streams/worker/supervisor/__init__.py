"""Above the processes: what starts them, replaces them, ends them, and looks after what dead ones held.

`supervisor` is the loop; `child` is one process as the loop sees it; `before_forking` closes what processes must not
share, and `common_memory` has them share the rest; `overdue` finds the runs beyond their time-out; `rescues` has
`rescuer` look after what a dead process held, in a process of its own; `autoreload` notices that code was changed.
"""
