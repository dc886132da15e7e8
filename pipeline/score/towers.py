"""open_clip's transformers with what cannot change an embedding left out.

Of the last block of a tower only the token that becomes the embedding is needed. In a text tower
that looks back only, nothing after the end token is: texts are cut there. Whatever is no plain
transformer of open_clip runs as open_clip runs it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Tensor = Any  # torch is imported where it is used
Layer = Callable[[Tensor], Tensor]
# Makes a layer of a weight [out, in] and a bias [out] or None; `linear` is torch's.
LayerMaker = Callable[[Tensor, Tensor], Layer]


def linear(weight: Tensor, bias: Tensor) -> Layer:
    """y = x W' + b by torch."""
    import torch

    return lambda x: torch.nn.functional.linear(x, weight, bias)


@dataclass(frozen=True)
class Block:
    """A residual attention block, its linear layers replaced. query, key_value: the two parts of
    `qkv`, for when only some of the tokens are asked for."""

    block: Any
    heads: int
    qkv: Layer
    query: Layer
    key_value: Layer
    out: Layer
    up: Layer
    down: Layer

    def whole(self, x: Tensor, causal: bool) -> Tensor:
        """All tokens, [n, length, width] in and out. causal: each looks back only."""
        import torch

        q, k, v = (self._split(part) for part in self.qkv(self.block.ln_1(x)).chunk(3, dim=-1))
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self._rest(x, seen.transpose(1, 2).reshape(x.shape))

    def at(self, x: Tensor, places: Tensor, causal: bool) -> Tensor:
        """The token at places[i] of each row i alone, [n, width], of x [n, length, width]."""
        import torch

        rows = torch.arange(len(x), device=x.device)
        asked = x[rows, places][:, None]
        q = self._split(self.query(self.block.ln_1(asked)))
        k, v = (self._split(part) for part in self.key_value(self.block.ln_1(x)).chunk(2, dim=-1))
        mask = None
        if causal:
            mask = torch.arange(x.shape[1], device=x.device) <= places[:, None, None, None]
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self._rest(asked, seen.transpose(1, 2).reshape(asked.shape))[:, 0]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _rest(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.block.ls_1(self.out(seen))
        hidden = self.block.mlp.gelu(self.up(self.block.ln_2(x)))
        return x + self.block.ls_2(self.down(hidden))


def _block(block: Any, layer: LayerMaker) -> Block:
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    width = weight.shape[1]
    out, up, down = block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj
    return Block(
        block,
        heads=block.attn.num_heads,
        qkv=layer(weight, bias),
        query=layer(weight[:width], bias[:width]),
        key_value=layer(weight[width:], bias[width:]),
        out=layer(out.weight, out.bias),
        up=layer(up.weight, up.bias),
        down=layer(down.weight, down.bias),
    )


def _are_plain(transformer: Any) -> bool:
    """Whether all blocks are those of OpenAI's CLIP, and there is one."""
    kinds = {type(block).__name__ for block in getattr(transformer, "resblocks", ())}
    return kinds == {"ResidualAttentionBlock"} and transformer.batch_first


def _run(blocks: Sequence[Block], x: Tensor, places: Tensor, causal: bool) -> Tensor:
    for block in blocks[:-1]:
        x = block.whole(x, causal)
    return blocks[-1].at(x, places, causal)


def image_tower(model: Any, layer: LayerMaker = linear) -> Layer:
    """Pixels [n, 3, side, side], normalised, to embeddings [n, width], not normalised."""
    import torch

    tower = model.visual
    if not (
        type(tower).__name__ == "VisionTransformer"
        and type(model).__name__ in ("CLIP", "CustomTextCLIP")
        and _are_plain(tower.transformer)
        and tower.pool_type == "tok"
        and tower.attn_pool is None
        and not tower.output_tokens
    ):
        return _as_it_is(model, "visual", layer)
    blocks = [_block(block, layer) for block in tower.transformer.resblocks]

    def encode(pixels: Tensor) -> Tensor:
        x = tower._embeds(pixels)
        places = torch.zeros(len(x), dtype=torch.long, device=x.device)
        x = tower.ln_post(_run(blocks, x, places, causal=False))
        return x if tower.proj is None else x @ tower.proj

    return encode


@dataclass(frozen=True)
class _Texts:
    """A plain text tower. tower: what holds its parameters. pool: which token is taken. causal:
    whether each token sees only those before it."""

    tower: Any
    pool: str
    causal: bool
    end: int

    @property
    def can_be_cut(self) -> bool:
        """Whether what stands after a text's end token cannot change its embedding."""
        return self.causal and self.pool != "last"

    def places(self, tokens: Tensor) -> Tensor:
        """Where the token stands that becomes the embedding: int64 [n], of ids [n, length].

        An exclamation mark may be token 0, as padding is: counting the others does not say it.
        """
        import torch

        if self.pool == "argmax":
            return tokens.argmax(dim=-1)  # the end has the highest id; the first of equals is taken
        if self.pool == "eos":
            return (tokens == self.end).int().argmax(dim=-1)
        return torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)


def _plain_texts(model: Any) -> _Texts | None:
    named = type(model).__name__
    if named == "CLIP":
        tower, pool, end = model, model.text_pool_type, model.text_eos_id
    elif named == "CustomTextCLIP" and type(model.text).__name__ == "TextTransformer":
        tower = model.text
        pool, end = tower.pool_type, tower.eos_id
        if tower.cls_emb is not None or tower.use_pad_mask or tower.output_tokens:
            return None
    else:
        return None
    if pool not in ("argmax", "eos", "last") or not _are_plain(tower.transformer):
        return None
    return _Texts(tower, pool, tower.attn_mask is not None, end)


def lengths(model: Any, tokens: Tensor) -> Tensor:
    """How many tokens of each text matter: int64 [n]. All, where the model may see them."""
    import torch

    texts = _plain_texts(model)
    if texts is None or not texts.can_be_cut:
        return torch.full((len(tokens),), tokens.shape[1])
    return texts.places(tokens) + 1


def text_tower(model: Any, layer: LayerMaker = linear) -> Layer:
    """Token ids [n, length] to embeddings [n, width], not normalised.

    They may be cut after the longest of `lengths`. Differentiable, if the layers are.
    """
    texts = _plain_texts(model)
    if texts is None:
        return _as_it_is(model, "text" if hasattr(model, "text") else "transformer", layer)
    tower = texts.tower
    blocks = [_block(block, layer) for block in tower.transformer.resblocks]
    kind = tower.transformer.get_cast_dtype()

    def encode(tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = tower.token_embedding(tokens).to(kind) + tower.positional_embedding[:length].to(kind)
        x = tower.ln_final(_run(blocks, x, texts.places(tokens), texts.causal))
        projection = tower.text_projection
        if projection is None:
            return x
        return projection(x) if callable(projection) else x @ projection

    return encode


def _as_it_is(model: Any, part: str, layer: LayerMaker) -> Layer:
    """A tower of another architecture by open_clip's own code, its linear layers replaced."""
    import torch

    class Replaced(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, given: Any) -> None:
            super().__init__()
            self.weight, self.bias = given.weight, given.bias
            self.layer = layer(given.weight, given.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    if layer is not linear:
        for parent in list(getattr(model, part).modules()):
            for name, child in list(parent.named_children()):
                # Of exactly this type: others are read by what stands around them.
                if type(child) is torch.nn.Linear:
                    setattr(parent, name, Replaced(child))
    return model.encode_image if part == "visual" else model.encode_text  # type: ignore[no-any-return]
