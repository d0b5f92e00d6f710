"""How the story asks: by HTTP and by command; what it says when the answer is no."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from regtest import http
from regtest.command import CommandFault, attempt, holdfast, holdfast_json, together
from regtest.http import HttpFault
from regtest.ports import Port

PROBLEM = {
    "code": "not_active",
    "title": "the bridge is not active yet",
    "detail": "no record",
    "remedy": "wait",
}


class Answers(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self):
        match self.path:
            case "/value":
                self.answer(200, json.dumps({"token": self.headers["Authorization"]}).encode())
            case "/problem":
                self.answer(404, json.dumps(PROBLEM).encode())
            case _:
                self.answer(500, b"<html>oh</html>")

    def do_POST(self):
        self.answer(200, self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def url():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_value_is_read_and_a_token_is_shown(url):
    assert http.get(url + "/value") == {"token": None}
    assert http.get(url + "/value", token="t") == {"token": "Bearer t"}


def test_a_body_is_sent_as_json(url):
    assert http.post(url + "/echo", {"purpose": "mint"}) == {"purpose": "mint"}


def test_a_problem_is_a_fault_with_code_and_remedy(url):
    with pytest.raises(HttpFault, match="not active yet: no record: wait") as caught:
        http.get(url + "/problem")
    assert (caught.value.status, caught.value.code) == (404, "not_active")


def test_an_answer_that_is_no_problem_json_is_told_as_it_is(url):
    with pytest.raises(HttpFault, match="answered 500: <html>"):
        http.get(url + "/else")


def test_nobody_there_is_a_fault_of_status_nothing():
    port = Port()
    with pytest.raises(HttpFault, match="answered nothing"):
        http.get(f"http://127.0.0.1:{port.number}/")
    assert not http.answers(f"http://127.0.0.1:{port.number}/")
    port.release()


def test_whoever_answers_anything_is_there(url):
    assert http.answers(url + "/problem")


def test_other_machines_are_never_asked():
    with pytest.raises(ValueError, match="this machine only"):
        http.get("http://192.0.2.1/")


def test_a_command_prints_json_and_its_words(tmp_path):
    made = holdfast_json("rollup", "key", "new", "-o", tmp_path / "key.json")
    assert holdfast("rollup", "key", "show", tmp_path / "key.json").strip() == made["keys"][0]


def test_a_refused_command_is_a_fault_that_quotes_it(tmp_path):
    with pytest.raises(CommandFault, match=r"`holdfast rollup key show .*none.json` ended with status 2"):
        holdfast("rollup", "key", "show", tmp_path / "none.json")
    assert attempt("rollup", "key", "show", tmp_path / "none.json").status == 2


def test_commands_that_run_at_once_answer_in_their_order(tmp_path):
    made = [holdfast_json("rollup", "key", "new", "-o", tmp_path / f"{i}.json")["keys"][0] for i in range(2)]
    shown = together([("rollup", "key", "show", tmp_path / f"{i}.json") for i in range(2)])
    assert [text.strip() for text in shown] == made
