"""A catalogue with every kind of parameter, for tests of the domain."""

from genonce.domain.catalogue import Bounds, Catalogue, Model, catalogue_of

PAINTER = Model(
    id="maker/painter",
    provider="maker",
    aliases=("painter", "Alias-One"),
    width=Bounds(64, 2048, 512, 8),
    height=Bounds(64, 2048, 512, 8),
    steps=Bounds(1, 50, 20),
    guidance=Bounds(0, 20, 7.0),
    negative_prompt=True,
    samplers=("euler", "heun"),
    schedulers=("normal", "karras"),
    qualities=("standard", "hd"),
    styles=("vivid", "natural"),
    formats=("png", "webp", "jpeg"),
    price_usd=0.003,
)
PLAIN = Model(
    id="maker/plain",
    provider="maker",
    width=Bounds(256, 1024, 1024),
    height=Bounds(256, 1024, 1024),
    seed=False,
    prompt_max=100,
    formats=("jpeg",),
)
ABSENT = Model(
    id="other/model",
    provider="other",
    width=Bounds(256, 1024, 1024),
    height=Bounds(256, 1024, 1024),
)
CATALOGUE: Catalogue = catalogue_of(
    (PAINTER, PLAIN, ABSENT), default="maker/painter", missing={"other": "OTHER_API_KEY"}
)
