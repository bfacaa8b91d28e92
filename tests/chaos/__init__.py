"""`make chaos`: a rig that tries to have messages lost, doubled or stuck, and a checker that says whether they were.

- `trial`: publishes and works while a nemesis breaks things, mends all, waits, and gathers the evidence
- `nemeses`: the faults, each a small class that does something and undoes it
- `promises`: what docs/guarantees.md promises under each of them
- `checker`: pure functions that judge the evidence by the promises
- `ledgers`: what publishers and handlers write down, in files that outlive them
- `evidence`: what a trial leaves to be judged
- `running`: runs trials on several stages at once
- `stage`: the server, the database and the processes of a trial
- `proxy`: what is between them and the server, where replies are to be lost or late
- `publisher`, `handlers`, `models`, `streams`, `settings`: the Django project on the stage
- `mutants`: ways to break the product on purpose, each of which the checker must notice
- `report`: the table, and what became of each message that isn't as it should be
"""
