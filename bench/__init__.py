"""The benchmark: what the service costs and how long it takes, with a stand-in provider.

| step | file |
|---|---|
| choose figures, run them, print | `__main__.py` |
| the figures | `hot.py` `waits.py` `crowd.py` `bulk.py` `idle.py` `resources.py` |
| the service as it runs in production | `service.py`, `children.py` |
| stand-in provider, bare handler and load, each a process | `provider.py` `bare.py` `load.py` |
| one figure, the table | `figure.py` |
| the machine, a process's CPU and memory | `machine.py` |
"""
