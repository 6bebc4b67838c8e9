# SPDX-License-Identifier: Apache-2.0
"""Where a daemon's log goes, and what its lines look like."""

import argparse
import io
import json
import logging
import logging.config
import logging.handlers
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from glance import config
from glance.cli.arguments import path
from glance.cli.process import Refusal, open_log, plain
from glance.cli.startup import OutputError

FORMAT = "%(asctime)s %(levelname)8s [%(name)s] %(message)s"


class Json(logging.Formatter):
    """One JSON object a line, for programs that collect logs. Times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def declare(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of a command line that set_up() reads."""
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done (INFO)")
    parser.add_argument("-d", "--debug", action="store_true", help="log everything (DEBUG), first the configuration")
    logs = parser.add_argument_group("log")
    logs.add_argument(
        "--log-config", type=path, metavar="PATH", help="a file for Python's logging.config; overrides the rest"
    )
    logs.add_argument(
        "--log-handler",
        choices=("syslog", "file", "stream"),
        help="where to; stream is standard output (default: file if a file or directory is given, otherwise stream)",
    )
    logs.add_argument("--log-date-format", metavar="FORMAT", help="of strftime (default: %%Y-%%m-%%d %%H:%%M:%%S)")
    logs.add_argument("--log-file", type=path, metavar="PATH", help=f"default: {name}.log")
    logs.add_argument("--log-dir", type=path, metavar="DIR", help="directory of the log file")


def set_up(name: str, options: argparse.Namespace, settings: config.DaemonConfig) -> None:
    """Send the log where options and configuration say. Raises Refusal."""
    logging.Handler.handleError = _report_lost_lines  # type: ignore[assignment,method-assign]
    if options.log_config:
        try:
            if not Path(options.log_config).is_file():
                raise Refusal(f"no such file of log settings: {options.log_config}")
            logging.config.fileConfig(options.log_config, disable_existing_loggers=False, encoding="utf-8-sig")
        except (
            OSError,
            ValueError,
            KeyError,
            LookupError,
            TypeError,
            AttributeError,
            ImportError,
            RuntimeError,
        ) as error:
            raise Refusal(f"{options.log_config} holds no log settings: {error}") from error
        return
    try:
        handler = _handler(name, options, settings)
    except OSError as error:
        raise Refusal(f"cannot write the log {error.filename or ''}: {plain(error)}") from error
    # What none of our lines shows is not collected, as "Optimization" in Python's logging HOWTO has it.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None
    dates = options.log_date_format or settings.log_date_format
    handler.setFormatter(Json() if settings.log_format == "json" else logging.Formatter(FORMAT, dates))
    root = logging.getLogger()
    root.addHandler(handler)
    if options.debug or settings.debug:
        root.setLevel(logging.DEBUG)
    elif options.verbose or settings.verbose:
        root.setLevel(logging.INFO)
    # Libraries tell at lower levels what is in every request and statement, credentials included.
    for library in ("alembic", "urllib3", "botocore", "boto3", "s3transfer", "swiftclient", "sqlalchemy"):
        logging.getLogger(library).setLevel(logging.WARNING)


_handle_error = logging.Handler.handleError
_reported = False


def _report_lost_lines(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Say once that the log cannot be written; Python would print a traceback for each line."""
    global _reported
    error = sys.exc_info()[1]
    if not isinstance(error, OSError | OutputError):
        _handle_error(handler, record)
    elif not _reported:
        _reported = True
        reason = plain(error) if isinstance(error, OSError) else error
        print(f"ERROR: lines of the log are lost: {reason}", file=sys.stderr)


def _handler(name: str, options: argparse.Namespace, settings: config.DaemonConfig) -> logging.Handler:
    folder = options.log_dir or settings.log_dir
    file = options.log_file or settings.log_file
    kind = options.log_handler or ("file" if folder or file else "stream")
    if kind == "syslog":
        return logging.handlers.SysLogHandler("/dev/log")
    if kind == "stream":
        return logging.StreamHandler(sys.stdout)
    return _LogFile(Path(folder or "", file or f"{name}.log"), encoding="utf-8")


class _LogFile(logging.handlers.WatchedFileHandler):
    """A log file that refuses to be a symbolic link, also when it is opened anew.

    After logrotate has moved it away, the next line goes to a new one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it cannot be opened anew: a lost line must not fail the request that it is about
            self.handleError(record)

    def _open(self) -> io.TextIOWrapper:
        path, mode, encoding = self.baseFilename, self.mode, self.encoding
        return cast(io.TextIOWrapper, open(path, mode, encoding=encoding, errors=self.errors, opener=open_log))
