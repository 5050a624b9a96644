"""Every option of Streamlit, pinned: what hospitals expect of a page that shows patients' images.

No `.streamlit/config.toml`, `.streamlit/secrets.toml` or STREAMLIT_* variable has a say, wherever it lies.
"""

from __future__ import annotations

import os
from typing import Final

from medres.errors import UsageError
from medres.review.door import LOOPBACK, Address

PINNED: Final = {
    # This machine only, nothing sent elsewhere, nobody asked for an address of their own.
    "global.developmentMode": False,
    "global.e2eTest": False,
    "browser.gatherUsageStats": False,
    "browser.serverAddress": LOOPBACK,
    "server.address": LOOPBACK,
    "server.headless": True,
    "server.showEmailPrompt": False,
    "server.allowedHosts": [LOOPBACK],
    "server.corsAllowedOrigins": [],
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.xsrfCookieSameSite": "strict",
    "server.trustedUserHeaders": {},
    "server.unsafeMetricsUserAttributes": [],
    "server.enableAgentApi": False,
    "server.enableStaticServing": False,
    "server.scriptHealthCheckEnabled": False,
    "server.customComponentBaseUrlPath": "",
    "server.fileWatcherType": "none",
    "server.runOnSave": False,
    "server.allowRunOnSave": False,
    "server.maxUploadSize": 1,
    "secrets.files": [],
    # No stack traces, no advice to developers over the patient's score.
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.allowedOrigins": [],
    "client.toolbarMode": "minimal",
    "client.disableDataExport": True,
    "client.showSidebarNavigation": False,
    "logger.hideWelcomeMessage": True,
    "logger.level": "warning",
    "logger.enableRich": False,
    "runner.magicEnabled": False,
    # Radiographs are read in the dark.
    "theme.base": "dark",
    "theme.primaryColor": "#6db3e0",
    "theme.backgroundColor": "#11161c",
    "theme.secondaryBackgroundColor": "#1a222b",
    "theme.textColor": "#e7edf3",
    "theme.borderColor": "#2e3945",
    "theme.showWidgetBorder": True,
    "theme.baseRadius": "0.4rem",
    "theme.baseFontSize": 15,
    "theme.headingFontWeights": [600, 600, 600, 600, 600, 600],
}


def forget_environment() -> None:
    """Take STREAMLIT_* out of this process's environment; before Streamlit is imported, which reads some at once."""
    for name in list(os.environ):
        if name.upper().startswith("STREAMLIT_"):
            del os.environ[name]


def pin(address: Address) -> None:
    """Set every option for the server at this address.

    Raises:
        UsageError: an option has another value than ours, or than Streamlit's own where we have none.
    """
    from streamlit import config

    config.get_config_files = lambda _: []  # the files of the home folder, the working folder and beside the script
    here = {
        "server.port": address.port,
        "browser.serverPort": address.port,
        "server.baseUrlPath": address.folder,
    }
    known = config._config_options_template  # another version of Streamlit may have fewer
    wanted = {name: value for name, value in {**PINNED, **here}.items() if name in known}
    found = config.get_config_options(force_reparse=True, options_from_flags=wanted)
    ours = (config.ConfigOption.DEFAULT_DEFINITION, config.ConfigOption.STREAMLIT_DEFINITION)
    wrong = [
        name
        for name, option in found.items()
        if (option.value != wanted[name] if name in wanted else option.where_defined not in ours)
    ]
    if wrong:
        raise UsageError(f"these options of Streamlit cannot be pinned: {', '.join(wrong)}")
