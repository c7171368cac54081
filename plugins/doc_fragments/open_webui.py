# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach Open WebUI and who to be there; the same for every module of the action group."""

    DOCUMENTATION = r"""
options:
  webui_url:
    description:
      - The address at which the host that runs this module reaches Open WebUI, for example V(http://127.0.0.1:3000).
      - A proxy from the environment is used, except for addresses of the host itself.
    type: str
    required: true
  webui_email:
    description: The e-mail address of an administrator. Needed together with O(webui_password).
    type: str
  webui_password:
    description:
      - The password of O(webui_email). Open WebUI limits sign-ins to 15 in about three minutes for one address; a
        limit is waited out.
      - An account with a second factor cannot be used this way; use O(webui_token).
    type: str
  webui_password_file:
    description:
      - A file on the host that runs this module which holds the password of O(webui_email), such as the
        C(admin_password) that the role P(private_llm.fleet.open_webui#role) keeps. It is read when O(webui_password) is
        empty or left out, and never leaves the host.
    type: path
  webui_token:
    description:
      - An administrator's API key or session token, in place of O(webui_email) and O(webui_password).
      - Blanks and newlines around it, such as the one at the end of a file, are left out.
    type: str
  validate_certs:
    description: Whether the certificate of an V(https) address is checked.
    type: bool
    default: true
  timeout:
    description:
      - How many seconds one call to Open WebUI may take, from the question to the last byte of its answer.
      - A proxy that has no Open WebUI behind it yet is asked again within this time.
    type: int
    default: 30
notes:
  - Set the common options once for a play with C(module_defaults) and the action group
    C(group/private_llm.fleet.open_webui).
  - Needs no Python package on the host where it runs.
  - Tried with Open WebUI 0.11.4 to 0.12.4. A newer release is told as a warning; an answer that the module does not
    understand is an error, and nothing is written then.
"""
