"""Parameters and gradients as one array, a list or a dict of arrays."""


def leaves(tree):
    """Keys (None: one array; a range: a list; a list: a dict) and arrays."""
    if isinstance(tree, dict):
        return list(tree), list(tree.values())
    if isinstance(tree, (list, tuple)):
        return range(len(tree)), list(tree)
    return None, [tree]


def names(name, keys):
    return [name] if keys is None else [f"{name}[{key!r}]" for key in keys]


def kind(keys):
    if keys is None:
        return "one array"
    return f"a {'dict' if isinstance(keys, list) else 'list'} of {len(keys)}"


def matched(tree, keys):
    """The leaves of `tree`, the gradients, in the order of the parameters' keys."""
    if keys is None:
        return [tree]
    found, arrays = leaves(tree)
    if found == keys:
        return arrays
    if type(found) is not type(keys) or len(found) != len(keys):
        raise ValueError(f"grads is {kind(found)}; it must be {kind(keys)}, as params")
    by_key = dict(zip(found, arrays))
    if by_key.keys() != set(keys):
        raise ValueError(f"grads has keys {found}; they must be {keys}, as in params")
    return [by_key[key] for key in keys]
