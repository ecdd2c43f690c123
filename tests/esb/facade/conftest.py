"""One contract and one served facade for the whole session; each test gets its pipeline as new."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from esb.contract import Contract, load_contract
from esb.facade import Facade
from tests.esb.facade.doubles import SCHEMAS, ExamplePipeline, served


@pytest.fixture(scope="session")
def contract() -> Contract:
    return load_contract(SCHEMAS)


@pytest.fixture(scope="session")
def shared_pipeline(contract: Contract) -> ExamplePipeline:
    return ExamplePipeline(contract)


@pytest.fixture
def pipeline(shared_pipeline: ExamplePipeline) -> ExamplePipeline:
    shared_pipeline.__init__(shared_pipeline.contract)  # type: ignore[misc]
    return shared_pipeline


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def url(contract: Contract, shared_pipeline: ExamplePipeline) -> AsyncIterator[str]:
    async with served(Facade(contract, shared_pipeline, jitter=lambda: 0.0)) as base:
        yield base


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


@pytest.fixture
def http(session: aiohttp.ClientSession, pipeline: ExamplePipeline) -> aiohttp.ClientSession:
    return session
