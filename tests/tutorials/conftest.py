"""These tests put folders of scripts on the path, where other libraries must not find them."""


def pytest_ignore_collect(config):
    return True if config.option.markexpr == "peers" else None
