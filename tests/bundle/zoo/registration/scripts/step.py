"""One step of registration."""


class Registration:
    """Warps the moving image."""

    def __init__(self, network, warp):
        self.network, self.warp = network, warp

    def iterate(self, engine, batch):
        """One batch."""
        return {"loss": self.network(batch["moving"]).mean()}
