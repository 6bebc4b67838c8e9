# SPDX-License-Identifier: Apache-2.0
"""The options of glance-api by which a Swift is both of the clouds' stores."""

CLOUDS = """\
s3_store_host = http://127.0.0.1:{swift.port}
s3_store_access_key = {swift.user}
s3_store_secret_key = {swift.key}
s3_store_bucket = {name}-s3
s3_store_create_bucket_on_put = True
s3_store_bucket_url_format = path
s3_store_large_object_size = 5
s3_store_large_object_chunk_size = 5
swift_store_auth_address = {swift.auth_url}
swift_store_user = {swift.user}
swift_store_key = {swift.key}
swift_store_container = {name}-swift
swift_store_create_container_on_put = True
swift_store_large_object_size = 1
swift_store_large_object_chunk_size = 1
"""
