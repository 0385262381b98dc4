"""A worker interceptor from outside: where a company puts rules of its own, such as who may decide at the desk."""

from importlib import import_module

from temporalio.worker import Interceptor

from runtime.settings import SettingsError


def interceptor_at(where: str) -> Interceptor:
    """The interceptor of the class at `where`, such as `company.desk:FourEyes`. Raises `SettingsError`."""
    module, _, name = where.partition(":")
    try:
        made = getattr(import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingsError(f"--interceptor {where}: must be MODULE:CLASS: {error}") from error
    if not isinstance(made, Interceptor):
        raise SettingsError(f"--interceptor {where}: must be a subclass of temporalio.worker.Interceptor")
    return made
