# SPDX-License-Identifier: Apache-2.0
"""Who asks: filters in front of glance-api, in the same file of PasteDeploy. Without one everybody is the operator.

Each module here is one filter; its `filter_factory` is the name for the configuration.
"""
