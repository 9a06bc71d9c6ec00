"""A contract type for import-linter: files that come in families, each a stranger to the others."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StrangersContract(Contract):
    """In each package, a module imports others of its family only, even by detours.

    A family has one first word: ``native.py`` and ``native_wire.py`` are one dialect. New files
    are covered as they come.
    """

    type_name = "strangers"

    packages = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        chains = [
            chain
            for package in self.packages  # type: ignore[attr-defined]
            for importer in sorted(graph.find_children(package))
            for imported in sorted(graph.find_children(package))
            if _family(importer) != _family(imported)
            for chain in graph.find_shortest_chains(importer, imported, as_packages=True)
        ]
        return ContractCheck(kept=not chains, metadata={"chains": chains})

    def render_broken_contract(self, check: ContractCheck) -> None:
        chains: list[Any] = check.metadata["chains"]
        for chain in sorted(chains):
            output.print_error(" -> ".join(chain), bold=False)


def _family(module: str) -> str:
    return module.rpartition(".")[2].partition("_")[0]
