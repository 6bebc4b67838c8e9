# SPDX-License-Identifier: Apache-2.0
"""The distribution is not called `glance`: that name on the package index is somebody else's."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^VERSION = "(.+)"$', (HERE / "glance/version.py").read_text(), re.MULTILINE)
assert VERSION is not None

setup(
    name="glance-image-service",
    version=VERSION[1],
    description="A virtual-machine image service: register, discover, upload, stream and share disk images",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["glance", "glance.*"]),
    package_data={"glance": ["py.typed"]},
    scripts=[
        "bin/glance",
        "bin/glance-api",
        "bin/glance-registry",
        "bin/glance-scrubber",
        "bin/glance-control",
        "bin/glance-manage",
        "bin/glance-upload",
    ],
    data_files=[
        ("etc/glance", ["etc/glance.conf"]),
        (
            "etc/glance/examples",
            [
                "etc/examples/tokens.conf",
                "etc/examples/keystone.conf",
                "etc/examples/proxy.conf",
                "etc/examples/haproxy.cfg",
                "etc/examples/nginx.conf",
            ],
        ),
        (
            "lib/systemd/system",
            [
                "etc/systemd/glance-api.service",
                "etc/systemd/glance-registry.service",
                "etc/systemd/glance-scrubber.service",
            ],
        ),
    ],
    install_requires=[
        "WebOb>=1.8.9",
        'legacy-cgi; python_version >= "3.13"',  # for WebOb
        "PasteDeploy>=3.1",
        "SQLAlchemy>=2.1,<2.2",
        "alembic>=1.18",
        "eventlet>=0.41,<0.42",
        "requests>=2.32",
        "urllib3>=2.2,<3",
        "boto3>=1.40",
        "python-swiftclient>=4.7",
        "keystoneauth1>=5.8",
        "tqdm>=4.66",
        "shtab>=1.7",
        "wcwidth>=0.5",
        "prometheus_client>=0.22",
        "setproctitle>=1.3.6",
    ],
    extras_require={
        "keystone": ["keystonemiddleware>=10.7"],
        "postgresql": ["psycopg2-binary>=2.9.10"],
        "mariadb": ["PyMySQL>=1.1.1"],
    },
    classifiers=[
        "Environment :: Web Environment",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Archiving",
    ],
)
