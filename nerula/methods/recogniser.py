"""ArcFace: embeddings that tell people apart (Deng et al. 2019, https://arxiv.org/abs/1801.07698)."""

from torch import Tensor, nn
from torch.nn import functional as F

from nerula.method import Batch, Method
from nerula.methods.supervised import Predictor
from nerula.precision import in_full


class Recogniser(Predictor):
    """A method's embedding, trained so that each person is a direction and others are far from it.

    With t_j the angle between a recording's standardised embedding and the learned direction of
    person j, and y whose it is::

        L = -log( exp(s cos(t_y + m)) / (exp(s cos(t_y + m)) + sum_{j != y} exp(s cos t_j)) )

    The margin m makes it harder than it will be in use, where nobody was met in training: there
    embeddings are compared by their cosine, and the directions are thrown away. Beyond pi - m
    the cosine would rise again: there it goes on as a straight line.
    """

    def __init__(
        self,
        body: Method,
        width: int,
        *,
        outputs: int,
        scale: float = 192.0,
        margin: float = 1.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(
            body, width, kind="classes", outputs=outputs, frozen=frozen, standardised=True
        )
        self.scale, self.margin = scale, margin
        self.head = nn.Linear(width, outputs, bias=False)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute the loss of who it is."""
        if batch.labels is None:
            raise TypeError("a supervised method needs labels")
        cosine = self._outputs(batch.x[:, 0], batch.valid[:, 0]) / self.scale
        own = batch.labels.unsqueeze(1)
        logits = self.scale * cosine.scatter(1, own, self._harder(cosine.gather(1, own)))
        return {"loss": F.cross_entropy(logits, batch.labels)}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """The standardised embedding, whose cosines training was about."""
        z: Tensor = self.standardise(in_full(self.body.embed(x, valid)))
        return z

    def _harder(self, cosine: Tensor) -> Tensor:
        """cos(t + m), and beyond pi - m a line that goes on falling."""
        margin = cosine.new_tensor(self.margin)
        sine = (1 - cosine.square()).clamp(min=1e-12).sqrt()
        turned = cosine * margin.cos() - sine * margin.sin()
        return turned.where(cosine > -margin.cos(), cosine - margin * margin.sin())

    def _outputs(self, x: Tensor, valid: Tensor) -> Tensor:
        z, directions = self.embed(x, valid), in_full(self.head.weight)
        cosine = F.normalize(z, dim=1) @ F.normalize(directions, dim=1).T
        return self.scale * cosine.clamp(-1, 1)
