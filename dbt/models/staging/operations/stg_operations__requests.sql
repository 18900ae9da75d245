with

requests as (
    select * from {{ source('operations', 'requests') }}
),

renamed as (
    select
        reservation_id,

        source,
        state,

        requests as request_count,

        recorded_at,
    from requests
),

final as (
    select * from renamed
)

select * from final
