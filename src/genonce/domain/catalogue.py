"""What can be asked for: models, their bounds, defaults and prices, and the names they go by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from genonce.domain.errors import ConfigError, ProviderMisconfigured, UnknownModel


class Bounds(msgspec.Struct, frozen=True):
    """Closed range of a number; ``multiple`` of 0 means any value in it."""

    low: float
    high: float
    default: float
    multiple: int = 0


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model of one provider. A bound of None means: the model has no such parameter."""

    id: str
    provider: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    width: Bounds
    height: Bounds
    steps: Bounds | None = None
    guidance: Bounds | None = None
    prompt_max: int = 4000
    """Characters."""
    negative_prompt: bool = False
    seed: bool = True
    """Whether the provider takes a seed; then one is always sent."""
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("png",)
    """Output formats, the default first: png, webp or jpeg."""
    images_per_call: int = 1
    price_usd: float | None = None
    """Price of one image; None where it is not known, 0.0 where it is free."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models by id and alias, and which providers can be called.

    Attributes:
        models: by id.
        default: id of the model for requests that name none.
        missing: provider -> environment variable that would configure it.
    """

    models: Mapping[str, Model]
    names: Mapping[str, str]
    default: str
    missing: Mapping[str, str]

    def resolve(self, name: str | None) -> Model:
        """Return the model that a request means.

        Raises:
            UnknownModel: no id or alias of that name; the message lists the usable ids.
            ProviderMisconfigured: its provider has no key; the message names the variable.
        """
        key = self.names.get((name or self.default).casefold())
        if key is None:
            known = ", ".join(sorted(m.id for m in self.usable()))
            raise UnknownModel(f"Unknown model; known models: {known}.", known=known)
        model = self.models[key]
        variable = self.missing.get(model.provider)
        if variable is not None:
            raise ProviderMisconfigured(
                f"Model {model.id} needs the provider {model.provider}, which has no key here: "
                f"the operator has to set {variable}.",
                variable=variable,
                model=model.id,
            )
        return model

    def usable(self) -> list[Model]:
        """Models whose provider can be called now."""
        return [m for m in self.models.values() if m.provider not in self.missing]


def catalogue_of(models: Iterable[Model], *, default: str, missing: Mapping[str, str]) -> Catalogue:
    """Index models by id and alias (letter case does not matter).

    Raises:
        ConfigError: two models claim one name, or the default is no model's name.
    """
    by_id = {model.id: model for model in models}
    names: dict[str, str] = {}
    for model in by_id.values():
        for name in (model.id, *model.aliases):
            if names.setdefault(name.casefold(), model.id) != model.id:
                raise ConfigError(f"Two models claim the name {name}.")
    if default.casefold() not in names:
        raise ConfigError(f"DEFAULT_MODEL: there is no model {default} in the catalogue.")
    return Catalogue(models=by_id, names=names, default=default, missing=missing)
