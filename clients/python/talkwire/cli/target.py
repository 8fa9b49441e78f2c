"""The service that a command is about."""

from __future__ import annotations

import argparse
from typing import Union

from ..client import Client, connect
from ..errors import TalkwireError
from ..reconnecting import Reconnect
from .authkey import read_authkey


class NotFound(Exception):
    """Nothing was found, or there is no connection to it."""

    def __init__(self, reason: TalkwireError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def open_target(arguments: argparse.Namespace, reconnect: Union[Reconnect, bool] = False) -> Client:
    """Raises NotFound; INVALID_ADDRESS, UsageError for what is wrong in the command line."""
    authkey = read_authkey(arguments.authkey_file)
    try:
        return connect(arguments.target, authkey=authkey, reconnect=reconnect)
    except TalkwireError as error:
        if error.code == "INVALID_ADDRESS":
            raise
        raise NotFound(error) from error
