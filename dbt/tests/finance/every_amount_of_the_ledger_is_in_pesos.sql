-- Names each foreign currency. The ledger has no rates: its amounts have to be typed in pesos.
{{ config(group="finance") }}

with

uncounted_entries as (
    select * from {{ ref('uncounted_entries') }}
),

final as (
    select
        currency,
        count(*) as n_records,
    from uncounted_entries
    where reason = 'foreign currency'
    group by currency
)

select * from final
