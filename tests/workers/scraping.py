"""Reads what a process tells Prometheus, as Prometheus does."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, told: str) -> None:
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(told)
            for sample in family.samples
        }

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with at least these labels; 0 without any."""
        wanted = set(labels.items())
        return sum(
            value for (told, has), value in self.samples.items() if told == name and wanted <= has
        )


async def scrape(port: int) -> Scrape:
    async with httpx.AsyncClient(trust_env=False, timeout=15) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


async def page(port: int, path: str) -> tuple[int, dict[str, object]]:
    async with httpx.AsyncClient(trust_env=False, timeout=15) as http:
        answer = await http.get(f"http://127.0.0.1:{port}{path}")
    return answer.status_code, answer.json()
