"""What a consumer and its services ask of the server: `read`, `settle`, and what keeps messages from being lost.

`ownership` renews, claims and hands back; `suspects` are for the quarantine; `groups` are made, recorded and paused;
`promote` moves what is due, by the server's `clock`; `trim` removes what no group needs; `limits` bound what a
group runs; `drained` tells whether anything is left to do; `books` enters what others did to a group.
"""
