"""These tests put folders of scripts on the path, where other libraries must not find them.

One of the scripts is called compression, as is the module of newer Pythons that JAX looks for.
"""


def pytest_ignore_collect(config):
    return True if config.option.markexpr == "peers" else None
