"""What a matrix's role says of where it stands."""


def layer_of(role: str) -> str:
    """`layers.3` of `layers.3.attention.q`, `encoder.layers.0` likewise; the role itself outside the blocks."""
    parts = role.split(".")
    if "layers" not in parts:
        return role
    return ".".join(parts[: parts.index("layers") + 2])
