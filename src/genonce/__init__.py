"""genonce makes every picture once: the path of a request through this package.

| step | file | from -> to |
|---|---|---|
| 1 translate | `web/dialects/native/surface.py`, `web/dialects/native/wire.py` | wire body -> `Draft` |
| 2 canonicalise | `domain/request.py` | `Draft` -> `GenerationRequest` |
| 3 identify | `domain/identity.py` | `GenerationRequest` -> `SeriesId`, `TaskId` (MD5, 32 hex digits) |
| 4 claim, charge, enqueue | `service/submit.py`, `adapters/redis/tasks.py`, `adapters/redis/lua/claim.lua` | `TaskId` -> `Hit`, `Join`, `New`, `Replayed`, `Refused`, `KeyReused` or `Collision` |
| 5 work | `worker_process.py`, `jobs.py`, `service/generate.py` | job -> the empty slots of the task, leased |
| 6 buy | `service/purchase.py`, `adapters/providers/builtin/provider.py`, `adapters/providers/together.py` | `Call` -> `Rendered` |
| 7 store | `adapters/image_store.py`, then `adapters/redis/lua/fill_slot.lua` | bytes + receipt -> image key, progress, event |
| 8 follow | `service/follow.py`, `adapters/redis/events.py` | `Task` -> the dialect's body |
"""  # noqa: E501

__version__ = "0.1.0"
