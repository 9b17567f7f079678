"""The base of every record that an experiment file fills in."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Immutable, validated settings; a field that does not exist is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)
