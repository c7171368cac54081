# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many tokens fit into a KV cache: the arithmetic of vLLM 0.32, in whole blocks.

vLLM cuts the cache into blocks of one size. A block belongs to a group of layers and holds a page for each of them:
keys and values of some tokens, or a state. A request takes blocks for every group, so layers of different kinds are
put into groups of as many layers as the rarest kind has, and their pages are made equally large. What it reports as
"KV cache size" is how many requests of the greatest length fit, times that length.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from fractions import Fraction

from ._layers import (
    Attention,
    CannotPredict,
    Cross,
    Index,
    Latent,
    Layer,
    Paged,
    State,
)


class Terms(t.NamedTuple):
    """What the layers' needs depend on besides the model."""

    max_model_len: int
    element_bytes: int  # of keys and values
    dtype_bytes: int  # of the model
    block_size: int
    latent_block_size: int
    kernel_block_size: int  # blocks are multiples of it
    in_flight: int  # tokens that are scheduled and not yet done with
    prefix_caching: bool
    state_bytes: int  # of a recurrent state's element, 0 for what the model says
    pipeline_parallel_size: int = 1
    unwindowed: bool = False  # disable_hybrid_kv_cache_manager: every layer keeps all tokens
    speculated: int = 0  # tokens that are guessed ahead
    retained: int = 0  # tokens that a window keeps besides, for several layers of prediction
    encoder_tokens: int = 0  # of the longest input of an encoder
    checkpoints: bool = True  # states of Mamba 2 are kept besides
    sparse_token: int = 0  # bytes of a token where sparse latent attention packs it, 0 for one element after the other


class Spec(t.NamedTuple):
    """What one layer wants of a block."""

    kind: str  # full, sliding, chunked, cross or state
    block_size: int  # tokens in a page; a state has no tokens
    page: int  # bytes
    shape: tuple[int, ...]  # tells apart what has equal pages
    reach: int = 0  # of the window, or of a chunk
    copies: int = 1  # of a state for each request
    fixed: bool = False  # a latent page can be neither padded nor cut
    packed: bool = False  # pages of several sizes lie side by side in a block


class Group(t.NamedTuple):
    pages: int  # blocks that a request of the greatest length takes
    members: tuple[tuple[int, int], ...]  # layer of the model, and bytes of its page


class KvCache(t.NamedTuple):
    """The cache of one GPU."""

    bytes_per_block: int
    blocks_per_request: int
    block_size: int

    def tokens(self, memory: int, max_model_len: int, blocks: int | None = None) -> tuple[int, float]:
        """Return the tokens, and the requests of the greatest length, that fit, as vLLM reports them."""
        count = memory // self.bytes_per_block if blocks is None else blocks
        concurrency = count / self.blocks_per_request
        return int(concurrency * max_model_len), concurrency

    @property
    def least(self) -> int:
        """Return the bytes without which vLLM does not start: one request of the greatest length, and one free
        block.
        """
        return self.bytes_per_block * (self.blocks_per_request + 1)


Layers = t.Sequence[tuple[Layer, ...]]


def plan(layers: Layers, terms: Terms) -> KvCache | None:
    """Return the cache for a model's layers; None for a model that keeps nothing."""
    specs = _specs(layers, terms)
    if not specs:
        return None
    groups = _groups(specs, terms)
    stages = _stages(len(layers), terms.pipeline_parallel_size)
    return KvCache(
        bytes_per_block=max(_widest(groups, stage) for stage in stages),
        blocks_per_request=sum(group.pages for group in groups),
        block_size=max(spec.block_size for _index, spec in specs),
    )


def bytes_per_token(layers: Layers, terms: Terms) -> int:
    """Return the bytes of one more token of a long request, without rounding: windows and states add nothing."""
    paged = sum(
        Fraction(layer.page, layer.tokens)
        for parts in layers
        for layer in parts
        if isinstance(layer, Paged) and layer.window is None
    )
    return int(paged) + sum(
        _token_bytes(layer, terms)
        for parts in layers
        for layer in parts
        if isinstance(layer, (Latent, Index))
        or (isinstance(layer, Attention) and (terms.unwindowed or _keeps_all(layer)))
    )


def _keeps_all(layer: Attention) -> bool:
    return layer.window is None and layer.chunk is None


def _token_bytes(layer: Attention | Latent | Index | Cross, terms: Terms) -> int:
    if isinstance(layer, Index):
        return layer.size
    if isinstance(layer, Latent):
        return terms.sparse_token if layer.sparse and terms.sparse_token else layer.width * terms.element_bytes
    return layer.heads * layer.width * terms.element_bytes


# --- from layers to specs ---------------------------------------------------------------------------------------------


def _specs(layers: Layers, terms: Terms) -> list[tuple[int, Spec]]:
    kinds = {type(part) for parts in layers for part in parts}
    block_size = terms.latent_block_size if Latent in kinds else terms.block_size
    state_page = max(
        (_state_page(part, terms) for parts in layers for part in parts if isinstance(part, State)), default=0
    )
    padded = state_page
    if State in kinds and len(kinds) > 1:
        block_size = _aligned_block_size(layers, block_size, state_page, terms)
        padded = block_size * _primary(layers, terms)
    return [
        (index, _spec(part, block_size, padded, len(kinds) > 1, terms))
        for index, parts in enumerate(layers)
        for part in parts
    ]


def _primary(layers: Layers, terms: Terms) -> int:
    """Return the bytes of a token in the kind of attention that states are aligned to."""
    return next(_token_bytes(part, terms) for parts in layers for part in parts if not isinstance(part, (State, Paged)))


def keeps_states(layers: Layers) -> bool:
    return any(isinstance(part, State) for parts in layers for part in parts)


def has_windows(layers: Layers) -> bool:
    """Say whether what a layer keeps depends on how many tokens are in flight."""
    return any(
        (isinstance(part, Attention) and not _keeps_all(part)) or (isinstance(part, Paged) and part.window is not None)
        for parts in layers
        for part in parts
    )


def _aligned_block_size(layers: Layers, block_size: int, state_page: int, terms: Terms) -> int:
    """Enlarge blocks until a page of attention holds a state; the state is then padded to it."""
    step = max(block_size, terms.kernel_block_size)
    if any(isinstance(part, Latent) for parts in layers for part in parts):
        step = max(step, 128)
    return max(block_size, step * -(-state_page // (step * _primary(layers, terms))))


def _state_page(state: State, terms: Terms) -> int:
    recurrent = terms.state_bytes or _BYTES.get(state.recurrent_dtype, terms.dtype_bytes)
    convolution = state.convolution + state.convolved * terms.speculated
    return convolution * terms.dtype_bytes + state.recurrent * recurrent


_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def _spec(layer: Layer, block_size: int, padded_state: int, attends: bool, terms: Terms) -> Spec:
    if isinstance(layer, State):
        # Models of states alone cache no prefixes.
        cached = 2 + (layer.checkpoints if terms.checkpoints else 0)
        copies = (cached if terms.prefix_caching and attends else 1) + terms.speculated
        return Spec("state", 0, padded_state, (layer.convolution, layer.recurrent), copies=copies)
    if isinstance(layer, Paged):
        if terms.unwindowed:
            raise CannotPredict("what DeepSeek V4 keeps with disable_hybrid_kv_cache_manager is not known")
        kind = "full" if layer.window is None else "sliding"
        return Spec(kind, layer.tokens, layer.page, (), reach=layer.window or 0, packed=True)
    page = block_size * _token_bytes(layer, terms)
    if isinstance(layer, (Latent, Index)):
        return Spec("full", block_size, page, (page,), fixed=True)
    if isinstance(layer, Cross):
        return Spec("cross", block_size, page, (layer.heads, layer.width))
    shape = (layer.heads, layer.width)
    if layer.chunk is not None and not terms.unwindowed:
        return Spec("chunked", block_size, block_size * _token_bytes(layer, terms), shape, reach=layer.chunk)
    if layer.window is None or terms.unwindowed:
        return Spec("full", block_size, block_size * _token_bytes(layer, terms), shape)
    # A windowed layer takes the largest block of its own kernels that is no larger than the others'.
    own = max(terms.kernel_block_size, block_size // terms.kernel_block_size * terms.kernel_block_size)
    return Spec("sliding", own, own * _token_bytes(layer, terms), shape, reach=layer.window)


# --- from specs to groups ---------------------------------------------------------------------------------------------


def _groups(specs: t.Sequence[tuple[int, Spec]], terms: Terms) -> list[Group]:
    if _one_kind([spec for _index, spec in specs]):
        members = tuple((index, spec.page) for index, spec in specs)
        return [Group(max(_pages(spec, terms) for _index, spec in specs), members)]
    if all(spec.packed for _index, spec in specs):
        return _packed_groups(specs, terms)
    buckets: dict[Spec, list[int]] = {}
    for index, spec in _same_page(specs):
        buckets.setdefault(spec, []).append(index)
    size = _group_size([len(indices) for indices in buckets.values()])
    groups: list[Group] = []
    for spec, indices in buckets.items():
        count = -(-len(indices) // size)
        groups.extend(
            Group(_pages(spec, terms), tuple((index, spec.page) for index in indices[number::count]))
            for number in range(count)
        )
    return groups


def _packed_groups(specs: t.Sequence[tuple[int, Spec]], terms: Terms) -> list[Group]:
    """Put layers that need as many blocks into groups of about as many layers of each size of page.

    source: _get_packed_kv_cache_groups in vllm/v1/core/kv_cache_utils.py of 0.32.
    """
    buckets: dict[tuple[str, int, int], list[tuple[int, Spec]]] = {}
    for index, spec in specs:
        buckets.setdefault((spec.kind, spec.block_size, spec.reach), []).append((index, spec))
    counts = [Counter(spec.page for _index, spec in bucket) for bucket in buckets.values()]
    # Those with as many layers of each size can be cut; those of several sizes that can be cut say how small.
    even = [set(count.values()) for count in counts if len(set(count.values())) == 1]
    least = max(
        (max(count.values()) for count in counts if len(count) > 1 and len(set(count.values())) == 1), default=0
    )
    if not least:
        raise CannotPredict("how layers with pages of so many sizes are put together is not known")
    repeats = _least_padding([max(one) for one in even], least)
    groups = []
    for bucket, count in zip(buckets.values(), counts, strict=True):
        cut = -(-max(count.values()) // repeats) if len(set(count.values())) == 1 else 1
        by_page = [[(index, spec) for index, spec in bucket if spec.page == page] for page in count]
        for number in range(cut):
            members = tuple((index, spec.page) for layers in by_page for index, spec in layers[number::cut])
            groups.append(Group(_pages(bucket[0][1], terms), members))
    return groups


def _least_padding(counts: t.Sequence[int], least: int) -> int:
    """Return the size of groups, from ``least`` on, that leaves the fewest places empty; of equal ones the largest."""
    sizes = range(least, max(*counts, least) + 1)
    return min(sizes, key=lambda size: (sum(-count % size for count in counts), -size))


def _one_kind(specs: t.Sequence[Spec]) -> bool:
    """Say whether layers share one group: they do if they always need as many blocks, whatever their pages' sizes."""
    first = specs[0]
    if first.kind == "full":
        return all(spec.kind == "full" and spec.block_size == first.block_size for spec in specs)
    if first.kind in ("sliding", "chunked"):
        alike = (first.kind, first.block_size, first.reach)
        return all((spec.kind, spec.block_size, spec.reach) == alike for spec in specs)
    return all(spec.kind == first.kind and spec.page == first.page and spec.copies == first.copies for spec in specs)


def _same_page(specs: t.Sequence[tuple[int, Spec]]) -> list[tuple[int, Spec]]:
    """Make pages as large as the largest: more tokens in them where that divides evenly, else padding."""
    largest = max(spec.page for _index, spec in specs)
    return [(index, _enlarged(spec, largest)) for index, spec in specs]


def _enlarged(spec: Spec, page: int) -> Spec:
    if spec.page == page:
        return spec
    if spec.kind != "state" and page % spec.page == 0:
        return spec._replace(page=page, block_size=spec.block_size * (page // spec.page))
    if spec.fixed:
        raise CannotPredict("latent attention beside layers whose pages do not fit it is not known")
    return spec._replace(page=page)


def _group_size(counts: t.Sequence[int]) -> int:
    """Return how many layers the rarest kind has, or the most frequent where no kind is much more frequent."""
    return max(counts) if max(counts) < min(counts) * 1.5 else min(counts)


def _pages(spec: Spec, terms: Terms) -> int:
    """Return how many blocks one layer holds for a request of the greatest length."""
    if spec.kind == "state":
        return spec.copies
    if spec.kind == "full":
        return -(-terms.max_model_len // spec.block_size)
    if spec.kind == "cross":
        return -(-terms.encoder_tokens // spec.block_size)
    if spec.kind == "chunked":
        return -(-min(spec.reach + terms.in_flight, terms.max_model_len) // spec.block_size)
    # One more, for a window seldom begins where a block does.
    tokens = spec.reach - 1 + terms.retained + terms.in_flight
    return -(-min(tokens, terms.max_model_len) // spec.block_size) + 1


def _stages(layers: int, size: int) -> list[range]:
    """Return the layers of each pipeline stage: what is left over goes to the last stages but one."""
    counts = [layers // size] * size
    for offset in range(layers % size):
        counts[-(offset + 2)] += 1
    starts = [sum(counts[:stage]) for stage in range(size)]
    return [range(start, start + count) for start, count in zip(starts, counts, strict=True)]


def _widest(groups: t.Sequence[Group], stage: range) -> int:
    return max(sum(page for index, page in group.members if index in stage) for group in groups)
