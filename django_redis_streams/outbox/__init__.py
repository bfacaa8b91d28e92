"""A Django app with one table: messages that a transaction has committed, until they are on the server.

| module | what it does |
|---|---|
| `apps` | the app: tells `publishing` of `writing` |
| `presence` | whether the app is installed, and which streams need it; needs no app |
| `models` | the table |
| `databases` | which databases have it, and their errors in words |
| `rows` | turns a message into a row, and a row back into what is sent |
| `standing` | how a row stands: unsent, sending, waiting, refused, sent; as conditions of queries |
| `writing` | inserts rows, and takes those that are sent off the table: what `publishing` asks for |
| `relay` | sends what is due, batch by batch, while it has the lease |
| `batch` | one batch: order by key, what the server took and what it refused |
| `kept` | deletes what `OUTBOX_KEEP` kept for long enough |
| `replicated` | settles what too few replicas had when it was sent, once enough have it |
| `repair` | has sent again what a server has lost of what is kept |
| `lost` | which rows' messages a server has lost |
| `listing` | rows as records, page by page, for the admin and commands |
| `actions` | what a person does: find, send now, discard |
| `figures` | counts rows by stream, for the doctor, the status and metrics |
| `stranded` | rows in databases that no relay looks into, for the doctor |
| `bounded` | asks for these counts, but not for longer than a limit; needs no app |
"""
