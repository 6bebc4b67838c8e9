# SPDX-License-Identifier: Apache-2.0
"""What both applications need of HTTP, on webob, for any WSGI server."""
