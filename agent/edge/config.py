"""Caddy's configuration. Pure.

It says nothing about apps: where they are, Caddy asks by DNS, and what else there is to know, by the existence of
files and by a request to the edge. So it never changes while the node's role stays the same, and no connection is
ever lost to a change of it.

A request comes in on the public server and goes to a copy on this node, or to the mesh server, which passes it to the
proxy of another node by mutual TLS, or to the far server, which passes it to the URL that a provider gave a copy, or
to the gate server, where the edge decides about it first. Proxies accept only
the certificates of gateways, pinned by their hash.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from automator67.agent.edge.table import split

REFRESH = "250ms"
# A request waits this long for a copy to come: an app that may run only once is away for a moment when it changes.
TRY_FOR = "15s"
# A proxy soon lets the gateway try another node; but what may be sent only once it cannot hand back.
_TRY_HERE, _TRY_ONCE_HERE = "300ms", "5s"
# Providers stop what nobody asks for; the first request starts it again.
WAKE_FOR = "90s"
_NOT_NOW = [502, 503, 504]
_SAFE = ["GET", "HEAD", "OPTIONS"]

Json = dict[str, Any]

# Anything else is no name to ask our resolver for: it would say nothing, and the request would wait in vain.
_NAME = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[0-9]+)?$"
_NO_NAME: Json = {"handler": "static_response", "status_code": 400, "body": "There is no such name.\n"}
_FOR_APP: Json = {"header": {"A67-App": ["*"]}}
_ABORT: Json = {"handler": "static_response", "abort": True}
_NO_ANSWER: Json = {
    "handler": "static_response", "status_code": "{http.error.status_code}",
    "headers": {"Retry-After": ["10"], "Content-Type": ["text/plain; charset=utf-8"], "Cache-Control": ["no-store"]},
    "body": "This app does not answer at the moment. Please try again soon.\n",
}  # fmt: skip


class Files(NamedTuple):
    """Where things are: the edge's directory, Caddy's control socket and its log."""

    home: str
    admin: str
    log: str


class Ports(NamedTuple):
    """Ports of 127.0.0.1: the edge's own ``dns`` and ``answers``, Caddy's ``gate``, ``mesh`` and ``far``.

    The others are addresses Caddy listens on.
    """

    dns: int
    answers: int
    gate: int
    mesh: int
    far: int
    proxy: str
    public_http: str
    public_https: str


class Acme(NamedTuple):
    """Who gives certificates: its directory (empty: Let's Encrypt), a file with its root (empty: a public one)."""

    directory: str
    root: str
    email: str


def caddy_config(files: Files, ports: Ports, token: str, gateway: Acme | None, fingerprint: str) -> Json:
    """Return the configuration of a node; ``gateway`` is None where no public traffic arrives.

    ``token`` is part of the paths of the edge's own HTTP server, which everybody on the machine can reach.
    ``fingerprint`` is the identity's: Caddy reads the files of certificates only with a configuration that is new.
    """
    edge = f"http://127.0.0.1:{ports.answers}/{token}"
    servers: dict[str, Json] = {"proxy": _proxy_server(files, ports)}
    if gateway is not None:
        servers["public"] = _public_server(ports)
        servers["gate"] = _gate_server(ports, token)
        servers["mesh"] = _mesh_server(files, ports)
        servers["far"] = _far_server(ports)
        servers["plain"] = _plain_server(ports)
    identity = {"certificate": f"{files.home}/identity.pem", "key": f"{files.home}/key.pem"}
    tls: Json = {"certificates": {"load_files": [identity | {"tags": ["identity", fingerprint]}]}}
    if gateway is not None:
        tls["automation"] = {
            "policies": [{
                "on_demand": True,
                "get_certificate": [{"via": "http", "url": f"{edge}/certificate"}],
                "issuers": [_issuer(gateway)],
            }],
            "on_demand": {"permission": {"module": "http", "endpoint": f"{edge}/permit"}},
        }  # fmt: skip
    writer = {"output": "file", "filename": files.log, "roll_size_mb": 5, "roll_keep": 2}
    return {
        "admin": {"listen": f"unix/{files.admin}", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN", "writer": writer}}},
        "storage": {"module": "file_system", "root": f"{files.home}/caddy"},
        "apps": {
            "http": {"servers": servers, "grace_period": "30s", "http_port": split(ports.public_http)[1],
                     "https_port": split(ports.public_https)[1]},
            "tls": tls,
        },
    }  # fmt: skip


def _public_server(ports: Ports) -> Json:
    handler = _pass_on(ports, "{http.request.host}.g.a67.")
    # What only we may say must not come from outside.
    handler["headers"]["request"] = {"set": {"Host": ["{http.request.hostport}"]}, "delete": ["A67-App"]}
    return {
        "listen": [ports.public_https],
        "automatic_https": {"disable_redirects": True},
        "tls_connection_policies": [{}],
        "routes": [
            {"match": [{"not": [{"header_regexp": {"Host": {"pattern": _NAME}}}]}], "handle": [_NO_NAME],
             "terminal": True},
            {"handle": [handler]},
        ],
        "errors": {"routes": [{"handle": [_NO_ANSWER]}]},
    }  # fmt: skip


def _gate_server(ports: Ports, token: str) -> Json:
    """Where the requests go that need a decision each: only the public server sends them."""
    by_app = _pass_on(ports, "{http.request.header.A67-App}.ga.a67.")
    server = _inner(f"127.0.0.1:{ports.gate}", [{"handle": [_ask_gate(ports, token), by_app]}], ["127.0.0.1/32"])
    return server | {"errors": {"routes": [{"handle": [_NO_ANSWER]}]}}


def _mesh_server(files: Files, ports: Ports) -> Json:
    """The way to other nodes, by mutual TLS."""
    return _inner(f"127.0.0.1:{ports.mesh}", _short_tries(ports, "m", files), ["127.0.0.1/32"])


def _far_server(ports: Ports) -> Json:
    """The way to copies that a provider runs: by their public names, and what the system's resolver says of them."""
    routes: list[Json] = []
    for match, name in ((_FOR_APP, "{http.request.header.A67-App}.fa.a67."), ({}, "{http.request.host}.f.a67.")):
        handler = _to_provider(ports, name)
        # One that says it cannot now is shut out for a moment: the same question leads to the next.
        safe: Json = {"match": [{"method": _SAFE}], "handle": [_to_provider(ports, name)], "terminal": True}
        handler["handle_response"] = [
            {"match": {"status_code": _NOT_NOW}, "routes": [safe, {"handle": [{"handler": "copy_response"}]}]}
        ]
        routes.append({"match": [match] if match else [], "handle": [handler], "terminal": True})
    return _inner(f"127.0.0.1:{ports.far}", routes, ["127.0.0.1/32"])


def _to_provider(ports: Ports, name: str) -> Json:
    handler = _pass_on(ports, name)
    there = "{http.reverse_proxy.upstream.host}"
    handler["headers"]["request"] |= {
        "set": {"Host": [there]} | _as_it_came(),
        # A target of an SRV record ends with a dot; providers know no such host.
        "replace": {"Host": [{"search_regexp": r"\.$", "replace": ""}]},
        "delete": ["A67-App"],
    }
    handler["transport"] |= {
        "tls": {"server_name": there, "handshake_timeout": "10s"}, "dial_timeout": "5s",
        # What sleeps takes its time to wake.
        "response_header_timeout": WAKE_FOR,
    }  # fmt: skip
    del handler["transport"]["resolver"]
    handler["load_balancing"] |= {"selection_policy": {"policy": "first"}, "try_duration": "5s"}
    handler["health_checks"] = {"passive": {"fail_duration": "3s", "max_fails": 1, "unhealthy_status": _NOT_NOW}}
    return handler


def _short_tries(ports: Ports, zone: str, mesh: Files | None = None) -> list[Json]:
    """Return the routes by app and by host that soon give a request back to the gateway."""
    routes: list[Json] = []
    for match, name in ((_FOR_APP, f"{{http.request.header.A67-App}}.{zone}a"), ({}, f"{{http.request.host}}.{zone}")):
        for method, try_for in (({"method": _SAFE}, _TRY_HERE), ({}, _TRY_ONCE_HERE)):
            handler = _pass_on(ports, f"{name}.a67.", mesh)
            handler["load_balancing"]["try_duration"] = try_for
            if mesh is None:
                # Every copy has an address of its own here: one that fails is shut out shortly, none for another's.
                handler["health_checks"] = {"passive": {"fail_duration": "2s", "max_fails": 1}}
            routes.append({"match": [match | method], "handle": [handler], "terminal": True})
    return routes


def _inner(listen: str, routes: list[Json], gateways: list[str]) -> Json:
    """Return a server that only gateways (at these addresses) send requests to; they have said who the client is."""
    return {
        "listen": [listen],
        "automatic_https": {"disable": True},
        "protocols": ["h1"],
        "trusted_proxies": {"source": "static", "ranges": gateways},
        "routes": routes,
        # A broken connection lets the gateway try another copy where that is safe; an answer would not.
        "errors": {"routes": [{"handle": [_ABORT]}]},
    }


def _as_it_came() -> Json:
    """An app sees the same whichever way a request came: what is between it and the gateway is no hop more."""
    return {"X-Forwarded-For": ["{http.request.header.X-Forwarded-For}"]}


def _plain_server(ports: Ports) -> Json:
    port = split(ports.public_https)[1]
    to = "https://{http.request.host}" + ("" if port == 443 else f":{port}") + "{http.request.uri}"
    return {
        "listen": [ports.public_http],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [{"handler": "static_response", "status_code": 308, "headers": {"Location": [to]}}]}],
    }


def _proxy_server(files: Files, ports: Ports) -> Json:
    known = _exists(files, "/peers/{http.request.tls.client.fingerprint}")
    stranger: Json = {"match": [{"not": [known]}], "handle": [_ABORT], "terminal": True}
    routes = [stranger, *_short_tries(ports, "h")]
    return _inner(ports.proxy, routes, ["0.0.0.0/0", "::/0"]) | {
        # The name in the handshake is the node's, the host of a request its app's.
        "strict_sni_host": False,
        "tls_connection_policies": [{
            "protocol_min": "tls1.3",
            "certificate_selection": {"any_tag": ["identity"]},
            "client_authentication": {
                "mode": "require_and_verify",
                "ca": {"provider": "file", "pem_files": [f"{files.home}/ca.pem"]},
            },
        }],
    }  # fmt: skip


def _pass_on(ports: Ports, name: str, mesh: Files | None = None) -> Json:
    """Return the handler that passes a request to one of the places a name stands for; ``mesh``: by mutual TLS."""
    resolver = {"addresses": [f"udp/127.0.0.1:{ports.dns}"]}
    transport: Json = {
        "protocol": "http",
        "dial_timeout": "2s",
        "compression": False,
        "versions": ["1.1"],
        "resolver": resolver,
        "keep_alive": {"max_idle_conns_per_host": 256, "idle_timeout": "60s"},
    }
    if mesh is not None:
        transport["tls"] = {
            "ca": {"provider": "file", "pem_files": [f"{mesh.home}/ca.pem"]},
            "client_certificate_file": f"{mesh.home}/identity.pem",
            "client_certificate_key_file": f"{mesh.home}/key.pem",
            "handshake_timeout": "5s",
        }
    return {
        "handler": "reverse_proxy",
        "transport": transport,
        # A new certificate must not end everybody's websocket.
        "stream_close_delay": "1h",
        "headers": {"request": {"set": {"Host": ["{http.request.hostport}"]} | _as_it_came()}},
        "dynamic_upstreams": {
            "source": "srv", "name": name, "refresh": REFRESH, "grace_period": "10s", "resolver": resolver,
        },
        "load_balancing": {
            # Shares are made by how often a place is in an answer: only this keeps them.
            "selection_policy": {"policy": "random"},
            "try_duration": TRY_FOR, "try_interval": "100ms", "retry_match": [{"method": _SAFE}],
        },
    }  # fmt: skip


def _ask_gate(ports: Ports, token: str) -> Json:
    said = {"A67-App": ["{http.reverse_proxy.header.A67-App}"]}
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{ports.answers}"}],
        "rewrite": {"method": "GET", "uri": f"/{token}/gate"},
        "headers": {"request": {"set": {"X-Forwarded-Uri": ["{http.request.uri}"]} | _as_it_came()}},
        "load_balancing": {"try_duration": "5s", "try_interval": "100ms"},
        "handle_response": [{
            "match": {"status_code": [200]},
            "routes": [{"handle": [{"handler": "headers", "request": {"set": said}}]}],
        }],
    }  # fmt: skip


def _exists(files: Files, path: str) -> Json:
    return {"file": {"root": files.home, "try_files": [path]}}


def _issuer(acme: Acme) -> Json:
    issuer: Json = {"module": "acme"}
    if acme.directory:
        issuer["ca"] = acme.directory
    if acme.root:
        issuer["trusted_roots_pem_files"] = [acme.root]
    if acme.email:
        issuer["email"] = acme.email
    return issuer
