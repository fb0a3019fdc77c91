"""Muon for the matrices of the layers, AdamW for everything else, behind torch.optim's interface.

Muon (Keller Jordan, 2024) replaces each matrix's momentum by the nearest matrix with all singular values about 1, found by a
few Newton-Schulz steps. On a CPU, where a training step is dear, it gets further in the same time than AdamW alone.
"""
import torch


def orthogonalised(m: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """m [G,n,k] -> the same shape, each matrix with singular values between about 0.7 and 1.2 (quintic Newton-Schulz)."""
    tall = m.shape[-2] > m.shape[-1]
    x = m.bfloat16().mT if tall else m.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Parameters are 2-D. `lr` is in AdamW's units: updates are scaled to AdamW's usual size, 0.2 per entry (Moonlight, 2025)."""

    def __init__(self, params, weight_decay: float, momentum: float = 0.95):
        super().__init__(params, {"lr": 0.0, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            same_shape = {}
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                same_shape.setdefault(p.shape, []).append((p, p.grad.lerp(buffer, group["momentum"])))  # Nesterov
            for shape, pairs in same_shape.items():
                updates = orthogonalised(torch.stack([update for _, update in pairs])) * (0.2 * max(shape) ** 0.5)
                for (p, _), update in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])


class MuonWithAdamW:
    """One optimizer of two: the layers' matrices go to Muon; embeddings, the conjunction and the norms to AdamW."""

    def __init__(self, model, weight_decay: float):
        named = list(model.named_parameters())
        others = [p for name, p in named if p.dim() == 2 and ".h." not in name]
        self.muon = Muon([p for name, p in named if p.dim() == 2 and ".h." in name], weight_decay)
        self.adamw = torch.optim.AdamW([{"params": others, "weight_decay": weight_decay},
                                        {"params": [p for _, p in named if p.dim() < 2], "weight_decay": 0.0}],
                                       betas=(0.9, 0.98), fused=True)
        self.param_groups = self.muon.param_groups + self.adamw.param_groups

    def step(self):
        self.muon.step()
        self.adamw.step()

    def zero_grad(self, set_to_none: bool = True):
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, saved: dict):
        self.muon.load_state_dict(saved["muon"])
        self.adamw.load_state_dict(saved["adamw"])
        self.param_groups = self.muon.param_groups + self.adamw.param_groups
