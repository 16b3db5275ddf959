"""What is left is what scikit-learn's principal components leave."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from training.layers.principal_residual import PrincipalResidual


def test_the_residual_is_that_of_principal_components():
    mix = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    x = torch.randn(400, 12, generator=torch.Generator().manual_seed(1)) @ mix + 3
    module = PrincipalResidual(12, 4)
    module.fit(x)
    reference = PCA(4).fit(x.double().numpy())
    y = x[:20].double().numpy()
    left = y - reference.inverse_transform(reference.transform(y))
    np.testing.assert_allclose(module(x[:20]).numpy(), left, atol=1e-4)
    assert module(x[:20]).square().sum() < (x[:20] - x.mean(0)).square().sum()
